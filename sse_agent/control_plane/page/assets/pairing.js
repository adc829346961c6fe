// <sse-agent-pairing>: a code for a new machine, its fingerprint compared, and a yes. Sends `over` at the end.

import { placeOf } from "./client.js";
import { h, say } from "./dom.js";
import { Part } from "./part.js";
import { sheet } from "./style.js";
import { duration, shown } from "./text.js";

const LOOK_EVERY_MS = 1500;
const style = sheet(`
:host { display: block; }
.step { display: grid; gap: 0.875rem; }
.step:focus { outline: none; }
.code { font: 700 clamp(1.75rem, 8vw, 2.75rem)/1.1 ui-monospace, "SF Mono", Menlo, Consolas, monospace; letter-spacing: 0.06em; text-align: center; padding: 1rem 0.5rem; border-radius: 12px; background: var(--raised); user-select: all; }
.fingerprint { font: 650 clamp(1.0625rem, 4.6vw, 1.375rem)/1.3 ui-monospace, Menlo, Consolas, monospace; text-align: center; padding: 0.875rem 0.5rem; border-radius: 12px; background: var(--raised); overflow-wrap: anywhere; }
dl { display: grid; grid-template-columns: auto minmax(0, 1fr); gap: 0.25rem 1rem; }
dt { color: var(--muted); }
pre { margin: 0; padding: 0.625rem 0.875rem; border-radius: 8px; background: var(--raised); white-space: pre-wrap; overflow-wrap: anywhere; }
.done { padding: 1rem; border-radius: 12px; background: var(--good-tint); color: var(--good); font-weight: 600; text-align: center; }
.wait { display: flex; gap: 0.25rem 0.5rem; align-items: baseline; }
.wait .dot { align-self: center; }
.wait .small { margin-inline-start: auto; white-space: nowrap; }
label { display: grid; gap: 0.25rem; }
.buttons { justify-content: flex-end; }
`);

class Pairing extends Part {
  static sheets = [style];
  code = null;

  build() {
    this.complaint = h("div", { class: "notice", role: "alert" });
    this.stage = h("div", { "aria-live": "polite" });
    this.root.append(this.complaint, this.stage);
    this.#begin();
  }

  opened() {
    this.timer = setInterval(() => this.#count(), 1000);
  }

  closed() {
    clearInterval(this.timer);
    this.isOver = true;
  }

  show() {
    this.#look();
  }

  #put(...children) {
    const hadFocus = this.stage.contains(this.root.activeElement);
    const step = h("div", { class: "step", tabindex: "-1" }, ...children);
    this.stage.replaceChildren(step);
    // The button that was pressed is gone; not the next one, lest somebody says yes who only waited.
    if (hadFocus) step.focus();
  }

  #button(text, kind, onclick) {
    return h("button", { type: "button", class: kind, text, onclick });
  }

  // --- the steps ---

  #begin() {
    this.code = null;
    const called = h("input", { maxlength: "128", placeholder: "warehouse-7", autocomplete: "off" });
    const go = h("button", { type: "submit", class: "main", text: "Show a code" });
    const form = h("form", { class: "step", onsubmit: (event) => { event.preventDefault(); this.#make(called.value.trim()); } },
      h("label", {}, h("span", { text: "What the machine is called (if you leave it out, it says so itself)" }), called),
      h("div", { class: "buttons" }, this.#button("Close", "plain", () => this.#end()), go));
    this.#put(form);
    queueMicrotask(() => called.focus());
  }

  async #make(called) {
    this.complain("");
    this.isOver = false;
    try {
      const bound = this.agent ? { clientId: this.agent } : {};
      this.code = await this.client.request("POST", "/pairing-codes", { key: crypto.randomUUID?.() ?? String(Math.random()), body: { ...(called ? { name: called } : {}), ...bound } });
    } catch (error) {
      this.complain(`There is no code: ${error.message}`);
      return;
    }
    this.left = h("span", { class: "muted small figures", role: "timer" });
    this.#put(
      h("p", { text: "On the machine, start this and type the code:" }),
      h("pre", {}, h("code", { text: `sse-agent enroll --control-plane ${placeOf(this.getAttribute("base-url") ?? "")}` })),
      h("div", { class: "code", role: "img", text: this.code.code, "aria-label": `The code is ${[...this.code.code].join(" ")}` }),
      h("p", { class: "wait" }, h("span", { class: "dot soon", "aria-hidden": "true" }), h("span", { text: "Waiting for the machine …" }), this.left),
      h("div", { class: "buttons" }, this.#button("Another code", "plain", () => this.#begin()), this.#button("Close", "plain", () => this.#end())),
    );
    this.#count();
    this.#follow(this.code.id);
  }

  #count() {
    if (!this.code || !this.left) return;
    const seconds = (Date.parse(this.code.expiresAt) - Date.now()) / 1000;
    say(this.left, seconds > 0 ? `good for ${duration(seconds)}` : "");
  }

  async #follow(id) {
    while (!this.isOver && this.code?.id === id) {
      try {
        const found = await this.client.request("GET", `/pairing-codes/${encodeURIComponent(id)}`);
        if (this.isOver || this.code?.id !== id) return;
        if (found.status === "redeemed") return this.#compare(found);
        if (found.status === "expired" || found.status === "burnt") return this.#lapsed(found.status);
      } catch (error) {
        if (error.status === 404 || error.status === 403) { this.complain(error.message); return; }
      }
      await new Promise((resolve) => { setTimeout(resolve, LOOK_EVERY_MS * (0.75 + Math.random() / 2)); });
    }
  }

  #lapsed(status) {
    const why = status === "burnt" ? "Five wrong tries burnt this code." : "This code has expired.";
    this.#put(h("p", { text: why }), h("div", { class: "buttons" }, this.#button("Another code", "main", () => this.#begin()), this.#button("Close", "plain", () => this.#end())));
  }

  #compare(found) {
    const row = (term, value) => (value ? [h("dt", { text: term }), h("dd", {}, h("bdi", { text: shown(value) }))] : []);
    this.#put(
      h("h3", { text: "Is this the machine?" }),
      h("p", { text: "Compare with the fingerprint that the machine’s terminal shows. Say yes only if all of it is the same." }),
      h("div", { class: "fingerprint", text: found.fingerprint }),
      h("dl", {}, ...row("Name", found.name), ...row("Host", found.host), ...row("Platform", found.platform), ...row("Version", found.version)),
      h("div", { class: "buttons" },
        this.#button("No, refuse it", "grave", () => this.#answer(found, false)),
        this.#button("Yes, they are the same", "main", () => this.#answer(found, true))),
    );
  }

  async #answer(found, isYes) {
    this.complain("");
    const path = `/agents/${encodeURIComponent(found.clientId)}`;
    try {
      if (isYes) await this.client.request("POST", `${path}/confirm`, { key: crypto.randomUUID?.() ?? String(Math.random()), body: { fingerprint: found.fingerprint } });
      else await this.client.request("DELETE", `${path}/enrollment`);
    } catch (error) {
      this.complain(error.message);
      return;
    }
    if (!isYes) {
      this.#put(h("p", { text: "The machine was refused." }), h("div", { class: "buttons" }, this.#button("Close", "main", () => this.#end())));
      return;
    }
    this.expected = found.clientId;
    this.#put(h("p", { class: "wait" }, h("span", { class: "dot soon", "aria-hidden": "true" }), h("span", { text: "Confirmed. Waiting until it connects; on the machine: sse-agent run" })),
      h("div", { class: "buttons" }, this.#button("Close", "plain", () => this.#end())));
    this.#look();
  }

  /** Turns green by itself. */
  #look() {
    const agent = this.expected ? this.store.agents.get(this.expected) : null;
    if (!agent?.presence.connected || this.isGreen) return;
    this.isGreen = true;
    this.#put(h("p", { class: "done", text: "Connected." }),
      h("div", { class: "buttons" }, this.#button("Open it", "main", () => this.#end(this.expected))));
    this.stage.querySelector("button").focus();
  }

  #end(clientId = this.isGreen ? this.expected : null) {
    this.dispatchEvent(new CustomEvent("over", { detail: clientId, bubbles: true, composed: true }));
  }
}

customElements.define("sse-agent-pairing", Pairing);
