// <sse-agent-uploads agent="…">: its uploads with their progress, and what can be asked of each.

import { ask, h, mark, say } from "./dom.js";
import { Part } from "./part.js";
import { sheet } from "./style.js";
import { bytes, counted, lastPart, percent, shown } from "./text.js";
import { ORDER, OVER } from "./uploads.js";
import { VirtualList, virtualSheet } from "./virtual.js";
import { makeRow, rowSheet } from "./uploadrow.js";

const GROUPS = [
  ["all", "All", ORDER],
  ["open", "Under way", ["uploading", "waiting", "queued"]],
  ["paused", "Paused", ["paused"]],
  ["failed", "Failed", ["failed"]],
  ["complete", "Complete", ["complete"]],
  ["cancelled", "Cancelled", ["cancelled"]],
];
const WIDE = 620;
const style = sheet(`
:host { display: flex; flex-direction: column; min-height: 0; height: 100%; container-type: inline-size; }
.tools { display: grid; grid-template-columns: minmax(0, 1fr) minmax(9rem, 14rem); gap: 0.625rem; align-items: start; padding: 0.75rem 1rem; }
.filters { display: flex; flex-wrap: wrap; gap: 0.25rem; padding-block: 0.1875rem; }
.filters button { border-radius: 999px; min-height: 1.875rem; padding: 0 0.75rem; font-size: 0.875rem; border-color: transparent; background: none; color: var(--muted); }
.filters button[aria-pressed=true] { background: var(--tint); color: var(--accent); font-weight: 600; }
.filters .figures { font-size: 0.8125rem; }
.notice, .say { margin: 0 1rem 0.5rem; }
.sum { padding: 0 1rem 0.5rem; }
:host(:is([read-only], [watch-only])) .deeds { display: none; }
.viewport { flex: 1; border-top: 1px solid var(--line); }
@container (max-width: 560px) { .tools { grid-template-columns: minmax(0, 1fr); } }
`);

class UploadList extends Part {
  static sheets = [virtualSheet, rowSheet, style];
  group = "all";

  build() {
    this.chips = GROUPS.map(([id, label]) => {
      const count = h("span", { class: "figures" });
      const button = h("button", { type: "button", "aria-pressed": String(id === this.group), onclick: () => this.#filter(id) }, h("span", { text: label }), count);
      return { id, button, count };
    });
    this.search = h("input", { type: "search", placeholder: "Find by name", "aria-label": "Find an upload by name", oninput: () => this.#order() });
    this.sum = h("p", { class: "sum muted small figures" });
    this.complaint = h("div", { class: "notice", role: "alert" });
    this.live = h("div", { class: "unseen", role: "status" });
    this.list = new VirtualList({
      label: "Uploads", keyOf: (upload) => upload.fileId,
      make: () => makeRow((fileId, deed) => this.#do(fileId, deed), (fileId) => this.#found.wishOf(fileId), () => this.#isThere),
      onKey: (upload, event) => this.#onKey(upload, event),
    });
    this.empty = h("div", { class: "empty" }, h("strong"), h("span"));
    this.root.append(
      h("div", { class: "tools" }, h("div", { class: "filters", role: "group", "aria-label": "Show" }, ...this.chips.map((chip) => chip.button)), this.search),
      this.sum, this.complaint, this.list.element, this.empty, this.live,
    );
    new ResizeObserver(([entry]) => {
      const isWide = entry.contentRect.width >= WIDE;
      mark(this.list.element, { class: isWide ? "viewport" : "viewport slim" });
      this.list.rowHeight = isWide ? 66 : 108;
    }).observe(this);
  }

  opened() {
    this.timer = setInterval(() => this.#tick(), 1000);
    this.onRefused = (event) => {
      const { clientId, name, error } = event.detail;
      if (clientId === this.agent) this.complain(`${shown(lastPart(name ?? "An upload"))} was refused: ${error?.message ?? error?.code ?? "no reason given"}`);
    };
    this.store.addEventListener("refused", this.onRefused);
  }

  closed() {
    clearInterval(this.timer);
    this.store.removeEventListener("refused", this.onRefused);
  }

  turned() {
    this.complain("");
    this.group = "all";
    this.search.value = "";
    this.list.element.scrollTop = 0;
  }

  get #found() {
    return this.store.uploads(this.agent).found;
  }

  get #isThere() {
    return this.store.agents.get(this.agent)?.presence.connected ?? false;
  }

  show(topics) {
    if (!this.agent) return;
    if (Part.concerns(topics, `uploads ${this.agent}`)) this.#order();
    else if (topics.has(`progress ${this.agent}`)) this.list.refresh((fileId) => this.#found.get(fileId));
    if (topics !== null) this.#tell();
  }

  // Ten thousand are sorted only when one of them changes its state, and twice a second at most.
  #order() {
    if (this.ordering) return;
    this.#orderNow();
    this.ordering = setTimeout(() => { this.ordering = null; this.#orderNow(); }, 500);
  }

  #orderNow() {
    const states = new Set(GROUPS.find(([id]) => id === this.group)[2]);
    const wanted = this.search.value.trim().toLowerCase();
    const found = [];
    for (const upload of this.#found.values()) {
      if (!states.has(upload.state)) continue;
      if (wanted && !(upload.fileName ?? upload.fileId).toLowerCase().includes(wanted)) continue;
      found.push(upload);
    }
    const rank = new Map(ORDER.map((state, place) => [state, OVER.has(state) ? 9 : place]));
    found.sort((one, other) => rank.get(one.state) - rank.get(other.state)
      || (OVER.has(one.state) ? compare(other.updatedAt, one.updatedAt) : 0)
      || compare(one.fileName ?? one.fileId, other.fileName ?? other.fileId));
    this.list.items = found;
    this.#counts(found.length, wanted);
  }

  #counts(count, wanted) {
    const { counts, size } = this.#found;
    for (const { id, button, count: figure } of this.chips) {
      const states = GROUPS.find(([group]) => group === id)[2];
      const many = states.reduce((sum, state) => sum + counts[state], 0);
      say(figure, many ? many.toLocaleString("en") : "");
      mark(button, { "aria-pressed": String(id === this.group), hidden: !many && id !== "all" && id !== this.group });
    }
    mark(this.list.element, { hidden: count === 0 });
    mark(this.empty, { hidden: count > 0 });
    const { isRead, error } = this.store.uploads(this.agent);
    const [title, words] = this.empty.children;
    say(title, size ? "None of these" : isRead ? "No uploads yet" : error ? "Not read" : "Reading …");
    say(words, size ? (wanted ? "Nothing that is shown has that in its name." : "") : isRead ? (this.isReadOnly ? "" : "Choose files on the tab Files.") : error ?? "");
    this.#sum();
  }

  #sum() {
    const rates = [...this.list.runway.children].length ? this.#rate() : 0;
    const agent = this.store.agents.get(this.agent);
    const waiting = agent?.queue?.waiting ?? 0;
    const words = [
      counted(this.#found.size, "upload"),
      rates ? `${bytes(rates)}/s` : null,
      waiting ? `${counted(waiting, "command")} on the way${agent.presence.connected ? "" : ": they wait until it is back"}` : null,
    ];
    say(this.sum, words.filter(Boolean).join(" · "));
  }

  #rate() {
    let sum = 0;
    for (const upload of this.#found.values()) if (upload.state === "uploading") sum += upload.rate ?? 0;
    return sum;
  }

  #tick() {
    this.list.refresh((fileId) => this.#found.get(fileId));
    this.#sum();
  }

  #filter(id) {
    this.group = id;
    this.list.element.scrollTop = 0;
    this.#orderNow();
  }

  // --- what can be asked ---

  #onKey(upload, event) {
    const deeds = { p: "pause", r: upload.state === "failed" ? "retry" : "resume", Delete: "cancel", c: "cancel" };
    const deed = deeds[event.key];
    if (deed && deedsOf(upload).includes(deed) && !this.isReadOnly) { event.preventDefault(); this.#do(upload.fileId, deed); }
  }

  async #do(fileId, deed) {
    const upload = this.#found.get(fileId);
    const title = shown(lastPart(upload.fileName ?? fileId));
    if (deed === "cancel") {
      const words = upload.asked ? " has not begun, and will not." : ` is ${percent(upload.offset, upload.fileSize)} % confirmed. What the tus server has of it is deleted, and it can’t be resumed.`;
      const text = h("p", {}, h("bdi", { text: title }), words);
      const isMeant = await ask(this.root, { title: "Cancel this upload?", text, yes: "Cancel the upload", isGrave: true });
      this.list.focus();
      if (!isMeant) return undefined;
    }
    this.complain("");
    const [type, word] = DEEDS[deed];
    try {
      const record = await this.store.wish(this.agent, fileId, type, word);
      if (record.outcome === "rejected" || record.outcome === "failed") this.complain(`${title}: ${record.error?.message ?? record.error?.code ?? record.outcome}`);
      else if (record.outcome === null) this.complain(`${title}: the agent has not answered yet; it will when it is back.`);
    } catch (error) {
      this.complain(`${title}: ${error.message}`);
    }
    return undefined;
  }

  /** What ended, for those who do not see it; many at once in one sentence. */
  #tell() {
    const over = this.store.takeOver().filter(({ clientId }) => clientId === this.agent);
    if (!over.length) return;
    const first = over.slice(0, 3).map(({ upload }) => `${shown(lastPart(upload.fileName ?? upload.fileId))}: ${upload.state}`);
    say(this.live, over.length > 3 ? `${first.join(", ")} and ${over.length - 3} more` : first.join(", "));
  }
}

const DEEDS = {
  pause: ["UPLOAD_PAUSE", "pausing"],
  resume: ["UPLOAD_RESUME", "resuming"],
  retry: ["UPLOAD_RESUME", "retrying"],
  cancel: ["UPLOAD_CANCEL", "cancelling"],
};

/** What can be asked of an upload as it is. */
export function deedsOf(upload) {
  if (["queued", "uploading", "waiting"].includes(upload.state)) return ["pause", "cancel"];
  if (upload.state === "paused") return ["resume", "cancel"];
  return upload.state === "failed" && upload.retryable ? ["retry", "cancel"] : [];
}

function compare(one, other) {
  return one < other ? -1 : Number(one > other);
}

customElements.define("sse-agent-uploads", UploadList);
