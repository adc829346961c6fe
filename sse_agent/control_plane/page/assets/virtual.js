// A list of any length of which only what can be seen is in the document.

import { h, mark } from "./dom.js";
import { sheet } from "./style.js";

const MORE = 4;

export const virtualSheet = sheet(`
.viewport { position: relative; overflow-y: auto; overscroll-behavior: contain; min-height: 0; }
.runway { position: relative; width: 100%; }
.row { position: absolute; inset-inline: 0; top: 0; overflow: hidden; }
.row:focus-visible, .row > .target:focus-visible { outline-offset: -2px; border-radius: 8px; }
`);

/**
 * `make()` gives `{element, show(item), target()}`; `keyOf(item)` names it. `target` is what the keyboard lands on: a
 * button or a box of the row; without it, the row itself. One row is the list's tab stop, and what else it holds follows;
 * arrows, Page Up and Down, Home and End go to others. `onKey(item, event)` gets the other keys of a row.
 */
export class VirtualList {
  #rows = new Map();
  #free = [];
  #items = [];
  #places = new Map();
  #activeKey = null;
  #rowHeight = 64;

  constructor({ label, make, keyOf, onKey = () => {} }) {
    this.make = make;
    this.keyOf = keyOf;
    this.runway = h("div", { class: "runway", role: "list", "aria-label": label });
    this.element = h("div", { class: "viewport" }, this.runway);
    this.element.addEventListener("scroll", () => this.#render(), { passive: true });
    this.element.addEventListener("keydown", (event) => this.#onKeydown(event, onKey));
    this.element.addEventListener("focusin", (event) => this.#onFocus(event));
    new ResizeObserver(() => this.#render()).observe(this.element);
  }

  /** The row that Tab leads to. */
  set activeKey(key) {
    if (key === this.#activeKey || !this.#places.has(key)) return;
    this.#activeKey = key;
    this.#render();
  }

  set rowHeight(height) {
    if (height === this.#rowHeight) return;
    this.#rowHeight = height;
    this.#render();
  }

  /** All items, in order. */
  set items(items) {
    const before = this.#places.get(this.#activeKey) ?? 0;
    const focused = this.#focused;
    this.#items = items;
    this.#places = new Map(items.map((item, place) => [this.keyOf(item), place]));
    const isGone = !this.#places.has(this.#activeKey);
    if (isGone) this.#activeKey = items.length ? this.keyOf(items[focused ? Math.min(before, items.length - 1) : 0]) : null;
    this.#render();
    // Whoever was at a row that is gone stands where it was, not at the top of the page.
    if (isGone && focused) this.focus();
  }

  get #focused() {
    const found = this.runway.getRootNode().activeElement;
    return found && this.runway.contains(found) ? found : null;
  }

  /** Show what changed in rows that are there. `find(key)` gives the item as it is now. */
  refresh(find) {
    for (const [key, row] of this.#rows) {
      const item = find(key);
      if (item) row.show(item);
    }
  }

  focus() {
    this.#go(this.#places.get(this.#activeKey) ?? 0);
  }

  #render() {
    const height = this.#rowHeight;
    this.runway.style.height = `${this.#items.length * height}px`;
    const first = Math.max(0, Math.floor(this.element.scrollTop / height) - MORE);
    const last = Math.min(this.#items.length, Math.ceil((this.element.scrollTop + this.element.clientHeight) / height) + MORE);
    const wanted = new Map();
    for (let place = first; place < last; place += 1) wanted.set(this.keyOf(this.#items[place]), place);
    // The row that the keyboard is at stays, wherever the list was scrolled to.
    const active = this.#places.get(this.#activeKey);
    if (active !== undefined && !wanted.has(this.#activeKey)) wanted.set(this.#activeKey, active);
    const focused = this.#focused;
    for (const [key, row] of this.#rows) {
      if (wanted.has(key)) continue;
      this.#rows.delete(key);
      row.element.remove();
      if (this.#free.length < 50) this.#free.push(row);
    }
    const inOrder = [...wanted].sort((one, other) => one[1] - other[1]);
    let next = this.runway.firstChild;
    for (const [key, place] of inOrder) {
      let row = this.#rows.get(key);
      if (!row) {
        row = this.#free.pop() ?? this.make();
        row.element.classList.add("row");
        this.#rows.set(key, row);
      }
      mark(row.element, { role: "listitem", "aria-setsize": this.#items.length, "aria-posinset": place + 1 });
      row.element.style.height = `${height}px`;
      row.element.style.transform = `translateY(${place * height}px)`;
      row.element.dataset.key = key;
      row.show(this.#items[place]);
      if (row.element === next) next = next.nextSibling;
      else this.runway.insertBefore(row.element, next);
      this.#stop(row, key === this.#activeKey);
    }
    if (focused?.isConnected && this.#focused !== focused) focused.focus({ preventScroll: true });
  }

  /** Whether Tab stops at this row. */
  #stop(row, isStop) {
    const target = targetOf(row);
    mark(row.element, { tabindex: target !== row.element ? null : isStop ? 0 : -1 });
    for (const part of row.element.querySelectorAll("button, input")) part.tabIndex = isStop ? 0 : -1;
  }

  #onFocus(event) {
    const key = event.target.closest(".row")?.dataset.key;
    if (key !== undefined && key !== this.#activeKey) { this.#activeKey = key; this.#render(); }
  }

  #onKeydown(event, onKey) {
    const row = event.target.closest(".row");
    if (!row || event.ctrlKey || event.metaKey || event.altKey) return;
    const place = this.#places.get(row.dataset.key) ?? 0;
    const page = Math.max(1, Math.floor(this.element.clientHeight / this.#rowHeight) - 1);
    const moves = { ArrowDown: place + 1, ArrowUp: place - 1, PageDown: place + page, PageUp: place - page, Home: 0, End: this.#items.length - 1 };
    if (event.key in moves) {
      event.preventDefault();
      this.#go(moves[event.key]);
    } else if (event.target === row) onKey(this.#items[place], event);
  }

  #go(place) {
    if (!this.#items.length) return;
    const there = Math.max(0, Math.min(this.#items.length - 1, place));
    this.#activeKey = this.keyOf(this.#items[there]);
    const top = there * this.#rowHeight;
    const { scrollTop, clientHeight } = this.element;
    if (top < scrollTop) this.element.scrollTop = top;
    else if (top + this.#rowHeight > scrollTop + clientHeight) this.element.scrollTop = top + this.#rowHeight - clientHeight;
    this.#render();
    const row = this.#rows.get(this.#activeKey);
    if (row) targetOf(row).focus({ preventScroll: true });
  }
}

function targetOf(row) {
  return row.target?.() ?? row.element;
}
