// <sse-agent-about agent="…">: what an agent says of itself, and what only a manager may do with it.

import { ask, h, mark, randomId } from "./dom.js";
import { Part } from "./part.js";
import { ageOf } from "./store.js";
import { sheet } from "./style.js";
import { ago, bytes, clockTime, duration, shown } from "./text.js";

const style = sheet(`
:host { display: block; overflow-y: auto; height: 100%; }
section { padding: 1rem; display: grid; gap: 0.875rem; max-width: 46rem; }
section + section { border-top: 1px solid var(--line); }
dl { display: grid; grid-template-columns: minmax(7rem, 11rem) minmax(0, 1fr); gap: 0.4375rem 1rem; }
dt { color: var(--muted); }
dd { overflow-wrap: anywhere; }
.deed { display: grid; grid-template-columns: minmax(0, 1fr) auto; gap: 0.25rem 1rem; align-items: center; }
@media (max-width: 480px) { dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: 0.5rem; } .deed { grid-template-columns: 1fr; } .deed button { justify-self: start; } }
`);

class About extends Part {
  static sheets = [style];

  build() {
    this.facts = h("dl");
    this.complaint = h("div", { class: "notice", role: "alert" });
    this.done = h("p", { class: "good", role: "status" });
    this.manage = h("section", { "aria-label": "Manage" },
      this.#deed("Readmit", "A machine that was restored from a backup, or copied, is refused until it is readmitted once.", "plain", () => this.#readmit()),
      this.#deed("Delete …", "Its key ends, its ID is never given out again. Uploads that are complete stay where they are.", "grave", () => this.#delete()));
    this.root.append(h("section", { "aria-label": "About this agent" }, this.complaint, this.done, this.facts), this.manage);
  }

  static get observedAttributes() {
    return [...super.observedAttributes, "can-manage"];
  }

  attributeChangedCallback(attribute, before, now) {
    super.attributeChangedCallback(attribute, before, now);
    if (this.manage) mark(this.manage, { hidden: !this.hasAttribute("can-manage") });
  }

  turned() {
    this.complain("");
    this.done.textContent = "";
  }

  show(topics) {
    if (!Part.concerns(topics, "agents")) return;
    mark(this.manage, { hidden: !this.hasAttribute("can-manage") });
    const agent = this.store.agents.get(this.agent);
    if (!agent) return;
    const { connection = {}, status = {}, enrollment = {}, presence, queue } = { ...agent, connection: agent.connection ?? {}, status: agent.status ?? {}, enrollment: agent.enrollment ?? {} };
    const age = ageOf(agent);
    const rows = [
      ["ID", agent.clientId],
      ["Presence", presence.connected ? `connected ${presence.since ? `since ${clockTime(presence.since)}` : ""}` : age === null ? "never seen" : `away · seen ${ago(age)}`],
      ["Transport", presence.connected ? (presence.transport === "polling" ? "long polling: something on the way holds the stream back" : "stream") : null],
      ["Host", connection.hostname],
      ["Platform", connection.platform],
      ["Version", connection.version],
      ["Folders", (connection.allowedFolders ?? []).join("\n")],
      ["Can", (connection.capabilities ?? []).join(", ")],
      ["Disk free", status.diskFree === undefined || status.diskFree === null ? null : bytes(status.diskFree)],
      ["Messages to send", status.outbox ? String(status.outbox) : null],
      ["Commands waiting", queue?.waiting ? String(queue.waiting) : null],
      ["Key", enrollment.fingerprint],
      ["Key made", enrollment.keyAgeSeconds ? `${duration(enrollment.keyAgeSeconds)} ago` : null],
    ];
    const key = JSON.stringify(rows);
    if (key === this.shownKey) return;
    this.shownKey = key;
    this.facts.replaceChildren(...rows.filter(([, value]) => value).flatMap(([term, value]) => [
      h("dt", { text: term }), h("dd", {}, ...String(value).split("\n").flatMap((line, n) => [n ? h("br") : null, h("bdi", { text: shown(line) })])),
    ]));
  }

  #deed(label, words, kind, onclick) {
    return h("div", { class: "deed" }, h("p", { class: "muted", text: words }), h("button", { type: "button", class: kind, text: label, onclick }));
  }

  async #try(said, deed) {
    this.complain("");
    this.done.textContent = "";
    try {
      await deed();
      this.done.textContent = said;
    } catch (error) {
      this.complain(error.message);
    }
  }

  async #readmit() {
    const text = "The next connection that would be refused is let in. Do this only if you know why it is refused: a machine that was restored or copied.";
    if (!await ask(this.root, { title: "Readmit this machine?", text, yes: "Readmit" })) return;
    await this.#try("Its next connection is let in.", () => this.client.request("POST", `${this.#path}/readmit`, { key: randomId(), body: {} }));
  }

  async #delete() {
    const text = h("p", {}, h("bdi", { text: shown(this.agent) }), " can’t connect any more and what it was asked for is not carried out. This can’t be undone.");
    if (!await ask(this.root, { title: "Delete this agent?", text, yes: "Delete for ever", isGrave: true })) return;
    await this.#try("Deleted.", () => this.client.request("DELETE", this.#path));
  }

  get #path() {
    return `/agents/${encodeURIComponent(this.agent)}`;
  }
}

customElements.define("sse-agent-about", About);
