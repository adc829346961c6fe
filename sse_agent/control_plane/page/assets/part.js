// What every element has in common: where it learns from, and how it looks.

import { Client } from "./client.js";
import { mark, say } from "./dom.js";
import { Store } from "./store.js";
import { shared } from "./style.js";

const sources = new Map();

/**
 * Where elements with this `base-url` learn from; made once. `token(isRefused)` gives a viewer token, or null.
 * A page that embeds elements calls this before it adds them, or sets `token` on the first of them.
 */
export function source(baseUrl, token) {
  let found = sources.get(baseUrl);
  if (!found) {
    const holder = { token: token ?? (async () => null) };
    const client = new Client({ baseUrl, token: (isRefused) => holder.token(isRefused) });
    found = { client, store: new Store(client), holder };
    sources.set(baseUrl, found);
  }
  if (token) {
    found.holder.token = token;
    found.client.retry();
  }
  return found;
}

/** Base of all elements. A subclass builds itself once (`build`) and shows what changed (`show(topics)`). */
export class Part extends HTMLElement {
  static sheets = [];
  #release = null;
  #onChange = (event) => this.show(event.detail);
  #onHello = () => mark(this, { "watch-only": this.client.scopes !== null && !this.client.scopes.includes("command") });
  #isBuilt = false;

  constructor() {
    super();
    this.root = this.attachShadow({ mode: "open" });
    this.root.adoptedStyleSheets = [shared, ...this.constructor.sheets];
  }

  static get observedAttributes() {
    return ["agent"];
  }

  /** The agent that this is about. */
  get agent() {
    return this.getAttribute("agent") ?? "";
  }

  set agent(clientId) {
    this.setAttribute("agent", clientId);
  }

  /** A function that gives a viewer token; shared by all elements of the same `base-url`. */
  set token(provider) {
    source(this.#baseUrl, provider);
  }

  get client() {
    return source(this.#baseUrl).client;
  }

  get store() {
    return source(this.#baseUrl).store;
  }

  /** Whether nothing may be asked of agents: so wants the page, or its token may not. */
  get isReadOnly() {
    return this.hasAttribute("read-only") || this.hasAttribute("watch-only");
  }

  get #baseUrl() {
    return this.getAttribute("base-url") ?? "";
  }

  connectedCallback() {
    if (!this.#isBuilt) {
      this.#isBuilt = true;
      this.build();
    }
    this.#release = this.client.use();
    this.store.addEventListener("change", this.#onChange);
    this.client.addEventListener("hello", this.#onHello);
    this.#onHello();
    this.opened?.();
    this.show(null);
  }

  disconnectedCallback() {
    this.#release?.();
    this.store.removeEventListener("change", this.#onChange);
    this.client.removeEventListener("hello", this.#onHello);
    this.closed?.();
  }

  attributeChangedCallback(attribute, before, now) {
    if (attribute === "agent" && before !== now && this.#isBuilt && this.isConnected) {
      this.turned?.();
      this.show(null);
    }
  }

  /** Show only if one of these topics changed; null stands for everything. */
  static concerns(topics, ...wanted) {
    return topics === null || wanted.some((topic) => topics.has(topic));
  }

  /** What went wrong, where people look; "" when it is over. */
  complain(text) {
    if (!this.complaint) return;
    say(this.complaint, text);
    mark(this.complaint, { class: text ? "notice bad" : "notice" });
  }
}
