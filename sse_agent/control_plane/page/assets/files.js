// <sse-agent-files agent="…">: the folders that the machine allows, asked of it page by page; and uploads from there.

import { h, mark, randomId, say } from "./dom.js";
import { Part } from "./part.js";
import { sheet } from "./style.js";
import { bytes, clockTime, counted, shown } from "./text.js";
import { VirtualList, virtualSheet } from "./virtual.js";

const PAGE = 500;
const MOST = 20000;
const ANSWER_WITHIN_S = 30;
const style = sheet(`
:host { display: flex; flex-direction: column; min-height: 0; height: 100%; }
.tools { display: flex; flex-wrap: wrap; gap: 0.5rem 0.75rem; align-items: center; justify-content: space-between; padding: 0.75rem 1rem; min-height: 3.75rem; }
nav ol { display: flex; flex-wrap: wrap; gap: 0.125rem 0.375rem; list-style: none; align-items: baseline; }
nav li + li::before { content: "/"; color: var(--muted); margin-inline-end: 0.375rem; }
nav [aria-current] { font-weight: 600; }
.notice { margin: 0 1rem 0.5rem; }
.viewport { flex: 1; border-top: 1px solid var(--line); }
.row { display: grid; grid-template-columns: 1.25rem minmax(0, 1fr) 5.5rem 9rem 5.25rem; gap: 0.75rem; align-items: center; padding: 0 1rem; border-bottom: 1px solid var(--line); }
.row:hover { background: color-mix(in srgb, var(--raised) 55%, transparent); }
.row bdi { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.row .link { justify-content: start; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.size { text-align: end; }
.row button.plain { min-height: 1.875rem; padding: 0 0.625rem; font-size: 0.875rem; }
.row .plain { justify-self: end; }
.row > span:first-child { display: grid; align-items: center; }
.folder { font-size: 1rem; line-height: 1; text-align: center; color: var(--accent); }
.more { padding: 0.5rem 1rem; border-top: 1px solid var(--line); display: flex; gap: 0.75rem; align-items: center; }
@media (max-width: 640px) { .row { grid-template-columns: 1.25rem minmax(0, 1fr) 4.75rem 5.25rem; gap: 0.5rem; } .when { display: none; } }
`);

class Files extends Part {
  static sheets = [virtualSheet, style];
  path = [];
  entries = [];
  chosen = new Set();
  cursor = null;
  asking = null;

  build() {
    this.crumbs = h("ol");
    this.upload = h("button", { type: "button", class: "main", onclick: () => this.#startChosen() });
    this.again = h("button", { type: "button", class: "quiet", text: "Read again", onclick: () => this.#open(this.path) });
    this.complaint = h("div", { class: "notice", role: "alert" });
    this.said = h("span", { class: "muted small", role: "status" });
    this.more = h("button", { type: "button", text: "Show more", onclick: () => this.#read(this.cursor) });
    this.list = new VirtualList({
      label: "Files", keyOf: keyOf, make: () => this.#row(),
    });
    this.list.rowHeight = 46;
    this.empty = h("div", { class: "empty" }, h("strong"), h("span"));
    this.root.append(
      h("div", { class: "tools" }, h("nav", { "aria-label": "Folder" }, this.crumbs), h("div", { class: "buttons" }, this.again, this.upload)),
      this.complaint, this.list.element, this.empty, h("div", { class: "more" }, this.more, this.said),
    );
  }

  opened() {
    if (this.agent && !this.entries.length && this.store.agents.size) this.#open([]);
  }

  closed() {
    this.asking?.abort();
  }

  turned() {
    this.#open([]);
  }

  show(topics) {
    if (this.agent && topics?.has("agents") && this.asking === null && !this.entries.length && !this.isRead) this.#open(this.path);
    if (topics === null) this.#showAll();
  }

  /** Ask for the folder; `path` is the way to it: [{name, path, pathB64}]. */
  #open(path) {
    this.path = path;
    this.entries = [];
    this.chosen.clear();
    this.cursor = null;
    this.isRead = false;
    this.list.element.scrollTop = 0;
    this.complain("");
    this.#showAll();
    return this.#read(null);
  }

  async #read(cursor) {
    if (!this.store.agents.get(this.agent)?.presence.connected) {
      if (this.store.areAgentsRead) this.complain("This agent is away; its folders can be read when it is back.");
      return;
    }
    this.asking?.abort();
    const asking = new AbortController();
    this.asking = asking;
    say(this.said, "Asking the agent …");
    try {
      const here = this.path.at(-1);
      const place = here ? (here.pathB64 ? { pathB64: here.pathB64 } : { path: here.path }) : {};
      const payload = { ...place, limit: PAGE, ...(cursor ? { cursor } : {}) };
      const id = await this.client.command(this.agent, "LIST_FILES", payload, { lifeS: 2 * ANSWER_WITHIN_S });
      const record = await this.client.outcome(id, { withinS: ANSWER_WITHIN_S, signal: asking.signal });
      if (asking.signal.aborted) return;
      const listing = record.replies.find((reply) => reply.type === "FILE_LIST");
      if (!listing) {
        const why = record.outcome === null ? "it does not answer" : record.error?.message ?? record.error?.code ?? record.outcome;
        this.complain(`The folder can’t be read: ${why}`);
      } else {
        this.complain("");
        this.entries = [...this.entries, ...listing.payload.entries];
        this.cursor = listing.payload.cursor ?? null;
        this.isRead = true;
      }
    } catch (error) {
      if (!asking.signal.aborted) this.complain(`The folder can’t be read: ${error.message}`);
    } finally {
      if (this.asking === asking) { this.asking = null; say(this.said, ""); this.#showAll(); }
    }
  }

  #enter(entry) {
    const here = this.path.at(-1);
    this.#open([...this.path, { name: entry.name, ...join(here, entry) }]).then(() => this.list.focus());
  }

  // --- uploads ---

  async #start(entries) {
    this.complain("");
    let started = 0;
    for (const entry of entries) {
      const { path, pathB64 } = join(this.path.at(-1), entry);
      const payload = { fileId: randomId(), ...(pathB64 ? { fileNameB64: pathB64 } : { fileName: path }) };
      try {
        await this.store.start(this.agent, payload, path);
        started += 1;
        this.chosen.delete(keyOf(entry));
      } catch (error) {
        this.complain(`${shown(entry.name)} could not be asked for: ${error.message}`);
        break;
      }
    }
    say(this.said, started ? `Asked for ${counted(started, "file")}; see Uploads.` : "");
    this.#showChosen();
    if (started) this.dispatchEvent(new CustomEvent("started", { detail: started, bubbles: true, composed: true }));
  }

  #startChosen() {
    return this.#start(this.entries.filter((entry) => this.chosen.has(keyOf(entry))));
  }

  #choose(entry, isChosen) {
    if (isChosen) this.chosen.add(keyOf(entry));
    else this.chosen.delete(keyOf(entry));
    this.#showChosen();
  }

  // --- what is shown ---

  #showAll() {
    const crumbs = [{ name: "Folders" }, ...this.path];
    this.crumbs.replaceChildren(...crumbs.map((crumb, depth) => {
      const text = shown(crumb.name);
      const isHere = depth === crumbs.length - 1;
      return h("li", {}, isHere ? h("bdi", { "aria-current": "page", text }) : h("button", { type: "button", class: "link", onclick: () => this.#open(this.path.slice(0, depth)) }, h("bdi", { text })));
    }));
    mark(this.list.element, { hidden: this.entries.length === 0, "aria-busy": this.asking ? "true" : null });
    mark(this.empty, { hidden: this.entries.length > 0 });
    const [title, words] = this.empty.children;
    say(title, this.asking ? "Asking the agent …" : this.isRead ? "Nothing in here" : "");
    say(words, "");
    mark(this.more, { hidden: this.cursor === null || this.entries.length >= MOST });
    if (this.cursor !== null && this.entries.length >= MOST) say(this.said, `The first ${MOST.toLocaleString("en")} are shown.`);
    mark(this.more.parentElement, { hidden: this.more.hidden && !this.said.textContent });
    this.list.items = this.entries;
    this.#showChosen();
  }

  #showChosen() {
    const count = this.chosen.size;
    say(this.upload, count ? `Upload ${counted(count, "file")}` : "Upload");
    this.upload.disabled = count === 0;
    mark(this.more.parentElement, { hidden: this.more.hidden && !this.said.textContent });
    this.list.refresh((key) => this.entries.find((entry) => keyOf(entry) === key));
  }

  #row() {
    let entry = null;
    const box = h("input", { type: "checkbox", onchange: () => this.#choose(entry, box.checked) });
    const icon = h("span", { class: "folder", "aria-hidden": "true", text: "▸" });
    const first = h("span", {}, box, icon);
    const open = h("button", { type: "button", class: "link", onclick: () => this.#enter(entry) }, h("bdi"));
    const title = h("bdi");
    const named = h("span", { class: "row-name" }, open, title);
    const size = h("span", { class: "size muted small figures" });
    const when = h("span", { class: "when muted small figures" });
    const go = h("button", { type: "button", class: "plain", text: "Upload", onclick: () => this.#start([entry]) });
    named.style.minWidth = "0";
    named.style.display = "grid";
    return {
      element: h("div", {}, first, named, size, when, go),
      target: () => ({ directory: open, file: box })[entry?.kind] ?? null,
      show: (now) => {
        entry = now;
        const text = shown(entry.name);
        const isFile = entry.kind === "file";
        mark(box, { hidden: !isFile, "aria-label": `Choose ${text}` });
        box.checked = this.chosen.has(keyOf(entry));
        mark(icon, { hidden: entry.kind !== "directory" });
        mark(open, { hidden: entry.kind !== "directory" });
        mark(title, { hidden: entry.kind === "directory", title: text, class: isFile ? "" : "muted" });
        say(open.firstChild, entry.kind === "directory" ? text : "");
        say(title, entry.kind === "directory" ? "" : text);
        say(size, isFile ? bytes(entry.size) : entry.kind === "directory" ? "folder" : entry.kind);
        say(when, entry.modifiedAt && this.path.length ? clockTime(entry.modifiedAt) : "");
        mark(go, { hidden: !isFile, "aria-label": `Upload ${text}` });
      },
    };
  }
}

function keyOf(entry) {
  return entry.nameB64 ?? `=${entry.name}`;
}

/** The whole path of an entry: as text, and as base64 of its bytes where a part of it is not UTF-8. */
function join(folder, entry) {
  const isTop = folder === undefined;
  const separator = folder?.path.includes("\\") && !folder.path.includes("/") ? "\\" : "/";
  const path = isTop ? entry.name : `${folder.path.replace(/[/\\]$/u, "")}${separator}${entry.name}`;
  if (!entry.nameB64 && !folder?.pathB64) return { path };
  const before = isTop ? [] : [...bytesOf(folder.path.replace(/[/\\]$/u, ""), folder.pathB64), ...bytesOf(separator)];
  return { path, pathB64: btoa(String.fromCharCode(...before, ...bytesOf(entry.name, entry.nameB64))) };
}

function bytesOf(text, base64) {
  return base64 ? Uint8Array.from(atob(base64), (character) => character.charCodeAt(0)) : new TextEncoder().encode(text);
}

customElements.define("sse-agent-files", Files);
