// <sse-agent-app>: the page itself. Signs in, shows the agents, and the elements of the one that is chosen.

import "./elements.js";
import { agentName, presenceWords } from "./agents.js";
import { h, mark, say } from "./dom.js";
import { source } from "./part.js";
import { Session } from "./session.js";
import { shared, sheet } from "./style.js";
import { duration, shown } from "./text.js";

const TABS = [["uploads", "Uploads"], ["files", "Files"], ["chat", "Chat"], ["about", "About"]];
const WIDE = matchMedia("(min-width: 1360px)");
const style = sheet(`
:host { display: block; height: 100dvh; background: var(--ground); }
.app { display: grid; grid-template: auto 1fr / 18.5rem minmax(0, 1fr); height: 100%; gap: 0; }
.bar { grid-column: 1 / -1; display: flex; align-items: center; gap: 0.75rem; padding: 0.5rem 1rem; background: var(--surface); border-bottom: 1px solid var(--line); min-height: 3.25rem; }
.bar h1 { font-size: 1rem; font-weight: 700; letter-spacing: -0.01em; display: flex; gap: 0.5rem; align-items: center; }
.bar .grow { flex: 1; min-width: 0; }
.line { display: flex; align-items: center; gap: 0.5rem; color: var(--muted); font-size: 0.875rem; min-width: 0; }
.line > [role=status] { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.line .figures { flex: none; }
.side { display: flex; flex-direction: column; min-height: 0; border-inline-end: 1px solid var(--line); background: var(--surface); }
.side sse-agent-list { flex: 1; }
.side footer { padding: 0.75rem 0.875rem; border-top: 1px solid var(--line); }
.side footer button { width: 100%; }
main { min-width: 0; min-height: 0; display: grid; grid-template: auto minmax(0, 1fr) / minmax(0, 1fr); background: var(--surface); }
.top { padding: 0.875rem 1rem 0; display: grid; gap: 0.625rem; border-bottom: 1px solid var(--line); }
.who { display: flex; align-items: center; gap: 0.625rem; min-width: 0; }
.who h2 { font-size: 1.25rem; letter-spacing: -0.01em; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.who .muted { white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
.back { display: none; }
.tabs { display: flex; gap: 0.25rem; }
.tabs button { border: 0; border-radius: 0; background: none; color: var(--muted); padding: 0.375rem 0.75rem; min-height: 2.375rem; border-bottom: 2px solid transparent; }
.tabs button:hover { color: var(--ink); background: none; }
.tabs button[aria-selected=true] { color: var(--accent); border-bottom-color: var(--accent); font-weight: 600; }
.panes { display: grid; grid-template: minmax(0, 1fr) / minmax(0, 1fr); min-height: 0; }
.pane { min-height: 0; min-width: 0; }
.app.stale .side, .app.stale main { opacity: 0.6; }
.choose { grid-template: minmax(0, 1fr) / minmax(0, 1fr); place-items: center; }
.sign { display: grid; place-items: center; height: 100%; padding: 1.5rem; }
.sign .card { width: min(27rem, 100%); padding: 1.75rem; border-radius: 16px; background: var(--surface); border: 1px solid var(--line); display: grid; gap: 1rem; }
.sign img { width: 2.5rem; height: 2.5rem; }
.sign h1 { font-size: 1.25rem; }
.sign code { white-space: nowrap; }
.sign form { display: grid; gap: 0.75rem; }
.sign label { display: grid; gap: 0.25rem; font-weight: 600; font-size: 0.875rem; }
.bar img { width: 1.5rem; height: 1.5rem; }
@media (min-width: 1360px) {
  .panes { grid-template-columns: minmax(0, 1fr) 24rem; }
  .panes [data-tab=chat] { grid-column: 2; grid-row: 1; border-inline-start: 1px solid var(--line); }
  .tabs [data-tab=chat] { display: none; }
}
@media (max-width: 760px) {
  .app { grid-template-columns: minmax(0, 1fr); }
  .app.one .side, .app:not(.one) main { display: none; }
  .back { display: inline-flex; font-size: 1.375rem; line-height: 1; padding: 0 0.75rem; margin-inline-start: -0.5rem; }
  .who h2 { font-size: 1.125rem; }
  .side { border: 0; }
  .bar .name { display: none; }
  .bar h1 { font-size: 0.9375rem; }
  .tabs { overflow-x: auto; scrollbar-width: none; }
  .tabs button { flex: 1; padding-inline: 0.5rem; }
}
`);

class App extends HTMLElement {
  constructor() {
    super();
    this.root = this.attachShadow({ mode: "open" });
    this.root.adoptedStyleSheets = [shared, style];
    this.session = new Session();
    const { client, store } = source("", (isRefused) => this.session.token(isRefused));
    Object.assign(this, { client, store });
    this.session.addEventListener("change", () => this.#start());
    client.addEventListener("state", () => this.#showState());
    store.addEventListener("change", (event) => { if (event.detail.has("agents")) this.#showAgent(); });
    addEventListener("hashchange", () => this.#turn());
    WIDE.addEventListener("change", () => this.#route());
  }

  async connectedCallback() {
    const why = await this.session.begin().catch(() => "The control plane does not answer.");
    if (!this.session.who) this.#signIn(why);
    setInterval(() => { this.#showState(); this.#showAgent(); }, 1000);
  }

  // --- signing in ---

  #start() {
    if (this.session.who) { this.#build(); this.client.retry(); } else this.#signIn(null);
  }

  #signIn(why) {
    this.app = null;
    const field = h("input", { type: "password", autocomplete: "off", required: true });
    const said = h("div", { class: why ? "notice bad" : "notice", role: "alert", text: why ?? "" });
    const form = h("form", { onsubmit: async (event) => {
      event.preventDefault();
      const failed = await this.session.signIn(field.value.trim().replace(/^.*#signin=/u, ""));
      if (failed) { said.textContent = failed; said.className = "notice bad"; field.value = ""; field.focus(); }
    } }, h("label", {}, "Link", field), h("button", { class: "main", text: "Sign in" }));
    this.root.replaceChildren(h("div", { class: "sign", role: "main" }, h("div", { class: "card" },
      h("img", { src: "page/icon.svg", alt: "" }), h("h1", { text: "Sign in with a link" }), said,
      h("p", { class: "muted" }, "Open the link that the control plane printed when it started, or paste it here. A new one, on its machine: ", h("code", { text: "sse-agent control-plane link" })),
      form)));
    field.focus();
  }

  // --- the page ---

  #build() {
    const { subject, scopes } = this.session.who;
    this.canManage = scopes.includes("manage");
    this.canCommand = scopes.includes("command");
    this.dot = h("span", { class: "dot", "aria-hidden": "true" });
    this.word = h("span");
    this.next = h("span", { class: "figures" });
    this.list = h("sse-agent-list", { onchoose: (event) => { location.hash = path(event.detail, this.tab ?? "uploads"); } });
    this.add = h("button", { type: "button", text: "Add an agent", onclick: () => this.#pair() });
    this.heading = h("h2", { id: "agent", tabindex: "-1" }, h("bdi"));
    this.there = h("span", { class: "dot", "aria-hidden": "true" });
    this.presence = h("span", { class: "muted small" });
    this.tabs = h("div", { class: "tabs", role: "tablist", "aria-label": "About this agent", onkeydown: (event) => this.#onTabKey(event) },
      ...TABS.map(([tab, label]) => h("button", { type: "button", role: "tab", id: `tab-${tab}`, "aria-controls": `pane-${tab}`, "data-tab": tab, text: label, onclick: () => this.#go(tab) })));
    this.panes = h("div", { class: "panes" }, ...TABS.map(([tab]) => h("div", { class: "pane", role: "tabpanel", id: `pane-${tab}`, "aria-labelledby": `tab-${tab}`, "data-tab": tab })));
    this.main = h("main", { "aria-labelledby": "agent" },
      h("div", { class: "top" },
        h("div", { class: "who" }, h("button", { type: "button", class: "quiet back", "aria-label": "All agents", text: "‹", onclick: () => { location.hash = "#/"; } }), this.there, this.heading, this.presence),
        this.tabs), this.panes);
    this.choose = h("main", { class: "choose", "aria-label": "Choose an agent" }, h("div", { class: "empty" }, h("strong", { text: "Choose an agent" }), h("span", { text: "Its uploads, folders and chat are shown here." })));
    this.app = h("div", { class: "app" },
      h("header", { class: "bar" }, h("h1", {}, h("img", { src: "page/icon.svg", alt: "" }), "sse-agent"), h("div", { class: "grow line" }, this.dot, h("span", { role: "status" }, this.word), this.next),
        h("span", { class: "muted small name" }, h("bdi", { text: shown(subject) })), h("button", { type: "button", class: "quiet", text: "Sign out", onclick: () => this.session.signOut() })),
      h("nav", { class: "side", "aria-label": "Agents" }, this.list, h("footer", { hidden: !this.canManage }, this.add)), this.choose);
    this.root.replaceChildren(this.app);
    this.#showState();
    this.#route();
  }

  #turn() {
    // A link that is opened where the page is open already: its secret must not stay in the address.
    if (/signin=/u.test(location.hash)) this.session.begin().then((why) => { if (!this.session.who) this.#signIn(why); });
    this.#route();
  }

  #route() {
    if (!this.app) return;
    const [, clientId, tab] = /^#\/agents\/([^/]+)(?:\/([a-z]+))?$/u.exec(location.hash) ?? [];
    this.tab = TABS.some(([known]) => known === tab) ? tab : "uploads";
    const agent = clientId ? decodeURIComponent(clientId) : null;
    const isTurned = this.isRouted && agent !== this.agent;
    this.isRouted = true;
    this.agent = agent;
    this.app.classList.toggle("one", agent !== null);
    mark(this.list, { agent });
    this.list.show?.(null);
    const body = agent ? this.main : this.choose;
    if (this.app.lastChild !== body) this.app.lastChild.replaceWith(body);
    if (!agent) {
      if (isTurned) this.list.focus();
      return;
    }
    // Where the chat stands beside everything else it is no tab.
    const isBeside = WIDE.matches;
    if (isBeside && this.tab === "chat") this.tab = "uploads";
    for (const [known] of TABS) {
      const isHere = known === this.tab;
      const button = this.tabs.querySelector(`[data-tab=${known}]`);
      mark(button, { hidden: known === "files" && !this.canCommand });
      mark(button, { "aria-selected": String(isHere), tabindex: isHere ? "0" : "-1" });
      const pane = this.panes.querySelector(`[data-tab=${known}]`);
      mark(pane, { hidden: !isHere && !(known === "chat" && isBeside) });
      const isSeen = isHere || (known === "chat" && isBeside);
      if (isSeen && !pane.firstChild) pane.append(this.#part(known));
      if (pane.firstChild) mark(pane.firstChild, { agent, "can-manage": this.canManage, "read-only": !this.canCommand });
    }
    this.#showAgent();
    if (isTurned) this.heading.focus({ preventScroll: true });
  }

  #part(tab) {
    const made = h(`sse-agent-${tab}`, { agent: this.agent, name: tab === "chat" ? this.session.who.subject : null });
    if (tab === "files") made.addEventListener("started", () => this.tabs.querySelector("[data-tab=uploads]").focus());
    return made;
  }

  #go(tab) {
    location.hash = path(this.agent, tab);
  }

  #onTabKey(event) {
    const tabs = [...this.tabs.children].filter((tab) => getComputedStyle(tab).display !== "none");
    const here = tabs.findIndex((tab) => tab.dataset.tab === this.tab);
    const next = { ArrowRight: here + 1, ArrowLeft: here - 1, Home: 0, End: tabs.length - 1 }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    const tab = tabs[(next + tabs.length) % tabs.length];
    this.#go(tab.dataset.tab);
    tab.focus();
  }

  #showAgent() {
    if (!this.app || !this.agent) return;
    const agent = this.store.agents.get(this.agent);
    say(this.heading.firstChild, shown(agent ? agentName(agent) : this.agent));
    const isGone = !agent && this.store.areAgentsRead;
    mark(this.there, { class: agent?.presence.connected ? "dot there" : "dot" });
    say(this.presence, agent ? presenceWords(agent) : isGone ? "not there, or deleted" : "");
    document.title = agent ? `${shown(agentName(agent))} · sse-agent` : "sse-agent";
  }

  /** The line to the control plane itself. */
  #showState() {
    if (!this.app) return;
    const { word, nextTryAt } = this.client.state;
    const left = nextTryAt ? (nextTryAt - Date.now()) / 1000 : 0;
    this.isLost = word === "waiting" || (word === "connecting" && this.isLost);
    const words = { connected: "live", connecting: "connecting …", asleep: "asleep while nobody looks", "signed-out": "signed out" };
    say(this.word, this.isLost ? "the control plane does not answer" : words[word]);
    // Outside of what is read out: it changes every second.
    say(this.next, this.isLost ? `· next try ${left > 0.5 ? `in ${duration(left)}` : "now"}` : "");
    mark(this.dot, { class: word === "connected" ? "dot there" : "dot soon" });
    // What is shown is what was known when the line was lost.
    this.app.classList.toggle("stale", this.isLost || word === "signed-out");
  }

  #pair() {
    const part = h("sse-agent-pairing");
    const dialog = h("dialog", { "aria-labelledby": "pair" }, h("h2", { text: "Add an agent", id: "pair" }), part);
    const end = (clientId) => {
      dialog.close();
      dialog.remove();
      this.add.focus();
      if (clientId) location.hash = path(clientId, "uploads");
    };
    part.addEventListener("over", (event) => end(event.detail));
    dialog.addEventListener("cancel", (event) => { event.preventDefault(); end(null); });
    this.root.append(dialog);
    dialog.showModal();
  }
}

function path(clientId, tab) {
  return `#/agents/${encodeURIComponent(clientId)}/${tab}`;
}

customElements.define("sse-agent-app", App);
