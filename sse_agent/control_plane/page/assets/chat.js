// <sse-agent-chat agent="…">: words to and from whoever is at the machine. A line that begins with / is a command.

import { h, mark, say } from "./dom.js";
import { Part } from "./part.js";
import { sheet } from "./style.js";
import { clockTime, shown, shownLines } from "./text.js";

const LIMIT = 4000;
const style = sheet(`
:host { display: flex; flex-direction: column; min-height: 0; height: 100%; }
.lines { flex: 1; min-height: 0; overflow-y: auto; padding: 0.75rem 1rem; display: flex; flex-direction: column; gap: 0.625rem; list-style: none; }
.lines > :first-child { margin-top: auto; }
.line { max-width: min(36rem, 88%); align-self: flex-start; }
.line.ours { align-self: flex-end; }
.line p { white-space: pre-wrap; overflow-wrap: anywhere; padding: 0.4375rem 0.75rem; border-radius: 12px 12px 12px 3px; background: var(--raised); }
.line.ours p { background: var(--tint); border-radius: 12px 12px 3px 12px; }
.line.code p { font-family: ui-monospace, Menlo, Consolas, monospace; font-size: 0.875rem; }
.line .by { display: flex; gap: 0.5rem; padding: 0.125rem 0.25rem; font-size: 0.75rem; color: var(--muted); }
.line.ours .by { justify-content: flex-end; }
form { display: grid; grid-template-columns: 1fr auto; gap: 0.5rem; padding: 0.75rem 1rem; border-top: 1px solid var(--line); align-items: end; }
textarea { resize: none; max-height: 9rem; field-sizing: content; }
.notice { margin: 0 1rem 0.5rem; }
.empty { flex: 1; align-content: center; }
:host(:is([read-only], [watch-only])) form { display: none; }
form .hint { grid-column: 1 / -1; }
`);

class Chat extends Part {
  static sheets = [style];
  #shownLines = new Map();

  build() {
    this.lines = h("ol", { class: "lines", role: "log", "aria-live": "off", "aria-relevant": "additions", "aria-label": "Chat", tabindex: "0" });
    this.empty = h("div", { class: "empty" }, h("strong", { text: "Nothing said yet" }), h("span", { text: "What you write is shown on the machine’s console." }));
    this.text = h("textarea", { rows: "1", maxlength: String(LIMIT), "aria-label": "Message", placeholder: "Message, or / for a command", onkeydown: (event) => this.#onKeydown(event) });
    this.send = h("button", { type: "submit", class: "main", text: "Send" });
    this.complaint = h("div", { class: "notice", role: "alert" });
    const hint = h("p", { class: "hint muted small", text: "Enter sends. A line that begins with / is a command: /status, /ls, /upload, /pause, …" });
    this.root.append(this.lines, this.empty, this.complaint, h("form", { onsubmit: (event) => { event.preventDefault(); this.#say(); } }, this.text, this.send, hint));
  }

  closed() {
    clearTimeout(this.speaking);
  }

  turned() {
    clearTimeout(this.speaking);
    this.isSpeaking = false;
    mark(this.lines, { "aria-live": "off" });
    this.lines.replaceChildren();
    this.#shownLines.clear();
    this.complain("");
  }

  show(topics) {
    if (!this.agent || !Part.concerns(topics, `chat ${this.agent}`)) return;
    const { lines, isRead } = this.store.chat(this.agent);
    const isAtEnd = this.lines.scrollHeight - this.lines.scrollTop - this.lines.clientHeight < 40;
    mark(this.empty, { hidden: lines.length > 0 });
    mark(this.lines, { hidden: lines.length === 0 });
    let next = this.lines.firstChild;
    const kept = new Set(lines);
    for (const [line, element] of this.#shownLines) if (!kept.has(line)) { this.#shownLines.delete(line); if (next === element) next = element.nextSibling; element.remove(); }
    for (const line of lines) {
      let element = this.#shownLines.get(line);
      if (!element) { element = make(line); this.#shownLines.set(line, element); }
      update(element, line);
      if (element === next) next = next.nextSibling;
      else this.lines.insertBefore(element, next);
    }
    if (isAtEnd || topics === null) this.lines.scrollTop = this.lines.scrollHeight;
    // What was said long ago is not read out, only what comes from now on.
    if (isRead && !this.isSpeaking) {
      this.isSpeaking = true;
      this.speaking = setTimeout(() => mark(this.lines, { "aria-live": "polite" }), 500);
    }
  }

  #onKeydown(event) {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    this.#say();
  }

  async #say() {
    const text = this.text.value.trim();
    if (!text) return;
    this.complain("");
    this.text.value = "";
    try {
      await this.store.talk(this.agent, text, this.getAttribute("name") ?? "");
    } catch (error) {
      this.text.value ||= text;
      this.complain(error.slug === "unknown-chat-command" ? error.message : `Not sent: ${error.message}`);
    }
    this.lines.scrollTop = this.lines.scrollHeight;
  }
}

function make(line) {
  return h("li", { class: `line ${line.isOurs ? "ours" : ""} ${line.isCommand || line.isReply ? "code" : ""}` },
    h("p", { dir: "auto", text: shownLines(line.text) }),
    h("div", { class: "by" }, h("bdi", { text: shown(line.from || (line.isOurs ? "You" : "")) }), h("time", { datetime: line.at, text: clockTime(line.at) }), h("span")));
}

function update(element, line) {
  say(element.querySelector(".by > span"), line.status ?? "");
}

customElements.define("sse-agent-chat", Chat);
