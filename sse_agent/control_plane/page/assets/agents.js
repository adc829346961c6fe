// <sse-agent-list>: all agents, and which of them are there. Choosing one sends `choose` (`detail`: its ID).

import { h, mark, say } from "./dom.js";
import { Part } from "./part.js";
import { ageOf } from "./store.js";
import { sheet } from "./style.js";
import { ago, counted, shown } from "./text.js";
import { VirtualList, virtualSheet } from "./virtual.js";

const IN_ORDER = new Intl.Collator(undefined, { numeric: true });
const style = sheet(`
:host { display: flex; flex-direction: column; min-height: 0; height: 100%; }
header { padding: 0.875rem 0.875rem 0.5rem; display: grid; gap: 0.625rem; }
.head { display: flex; align-items: baseline; justify-content: space-between; gap: 0.5rem; }
.viewport { flex: 1; padding: 0 0.5rem; }
.row button { display: grid; grid-template-columns: auto minmax(0, 1fr) auto; gap: 0 0.625rem; align-content: center; align-items: center;
  width: 100%; height: calc(100% - 2px); padding: 0 0.625rem; border: 0; background: none; text-align: start; white-space: nowrap; }
.row button:hover { background: var(--raised); }
.row button[aria-current=true] { background: var(--tint); box-shadow: inset 3px 0 0 var(--accent); border-start-start-radius: 0; border-end-start-radius: 0; }
.name { font-weight: 600; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.what { grid-column: 2 / -1; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.busy { font-size: 0.8125rem; color: var(--accent); font-weight: 600; }
`);

class AgentList extends Part {
  static sheets = [virtualSheet, style];

  build() {
    this.heading = h("h2", { text: "Agents" });
    // Not a live region: it changes with every agent that comes or goes. What was found is said, for that was asked.
    this.count = h("span", { class: "muted small" });
    this.found = h("span", { class: "unseen", role: "status" });
    this.filter = h("input", { type: "search", placeholder: "Find an agent", "aria-label": "Find an agent", oninput: () => this.show(null), hidden: true });
    this.list = new VirtualList({
      label: "Agents", keyOf: (agent) => agent.clientId, make: () => this.#row(),
    });
    this.list.rowHeight = 58;
    this.empty = h("div", { class: "empty", hidden: true }, h("strong"), h("span"));
    this.root.append(h("header", {}, h("div", { class: "head" }, this.heading, this.count), this.filter, this.found), this.list.element, this.empty);
  }

  opened() {
    this.timer = setInterval(() => this.#refresh(), 5000);
  }

  #refresh() {
    this.list.refresh((clientId) => this.store.agents.get(clientId));
  }

  closed() {
    clearInterval(this.timer);
  }

  turned() {
    this.list.activeKey = this.agent;
  }

  /** Puts the keyboard on the agent that is chosen, or was last. */
  focus() {
    this.list.focus();
  }

  show(topics) {
    if (topics !== null && [...topics].some((topic) => topic.startsWith("uploads "))) this.#refresh();
    if (!Part.concerns(topics, "agents")) return;
    const { agents, areAgentsRead } = this.store;
    const wanted = this.filter.value.trim().toLowerCase();
    const found = [...agents.values()].filter((agent) => !wanted || agentName(agent).toLowerCase().includes(wanted) || agent.clientId.toLowerCase().includes(wanted));
    found.sort((one, other) => IN_ORDER.compare(agentName(one), agentName(other)));
    mark(this.filter, { hidden: agents.size < 8 });
    const there = [...agents.values()].filter((agent) => agent.presence.connected).length;
    say(this.count, agents.size ? `${there} of ${agents.size} connected` : "");
    say(this.found, wanted ? `${counted(found.length, "agent")} found` : "");
    const isNone = agents.size === 0;
    mark(this.empty, { hidden: found.length > 0 || (isNone && !areAgentsRead) });
    say(this.empty.firstChild, isNone ? "No agents yet" : "No agent is called that");
    say(this.empty.lastChild, isNone ? "Add one: the page shows a code, and the machine asks for it." : "");
    mark(this.list.element, { hidden: found.length === 0 });
    this.list.items = found;
    if (!this.isPlaced && found.length) { this.isPlaced = true; this.list.activeKey = this.agent; }
  }

  #choose(clientId) {
    this.dispatchEvent(new CustomEvent("choose", { detail: clientId, bubbles: true, composed: true }));
  }

  #row() {
    const dot = h("span", { class: "dot", "aria-hidden": "true" });
    const title = h("bdi", { class: "name" });
    const busy = h("span", { class: "busy figures" });
    const what = h("span", { class: "what muted small" });
    const button = h("button", { type: "button", class: "target", onclick: () => this.#choose(element.dataset.key) }, dot, title, busy, what);
    const element = h("div", {}, button);
    return {
      element,
      target: () => button,
      show: (agent) => {
        const active = this.store.activeOf(agent);
        mark(dot, { class: agent.presence.connected ? "dot there" : "dot" });
        const called = shown(agentName(agent));
        // Without its age: a name that changes is read out anew.
        const words = [called, agent.presence.connected ? "connected" : "away", active ? `${counted(active, "upload")} under way` : null];
        mark(button, { "aria-current": agent.clientId === this.agent ? "true" : null, "aria-label": words.filter(Boolean).join(", "), title: called });
        say(title, called);
        say(busy, agent.presence.connected && active ? `↑ ${active}` : "");
        say(what, presenceWords(agent));
      },
    };
  }
}

/** What people call it. */
export function agentName(agent) {
  return agent.enrollment?.name || agent.clientId;
}

/** `connected`, `away · seen 3 min ago`, … */
export function presenceWords(agent) {
  const age = ageOf(agent);
  if (agent.presence.connected) return agent.presence.transport === "polling" ? "connected by polling" : "connected";
  if (age === null) return "never seen";
  return `away · seen ${ago(age)}`;
}

customElements.define("sse-agent-list", AgentList);
