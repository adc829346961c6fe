// <sse-agent-list>: all agents, and which of them are there. Choosing one sends `choose` (`detail`: its ID).

import { h, mark, say } from "./dom.js";
import { Part } from "./part.js";
import { ageOf } from "./store.js";
import { sheet } from "./style.js";
import { ago, counted, shown } from "./text.js";
import { VirtualList, virtualSheet } from "./virtual.js";

const style = sheet(`
:host { display: flex; flex-direction: column; min-height: 0; height: 100%; }
header { padding: 0.875rem 0.875rem 0.5rem; display: grid; gap: 0.625rem; }
.head { display: flex; align-items: baseline; justify-content: space-between; gap: 0.5rem; }
.viewport { flex: 1; padding: 0 0.5rem; }
.row { display: grid; grid-template-columns: auto 1fr auto; gap: 0 0.625rem; align-content: center; align-items: center; padding: 0 0.625rem;
  border-radius: 8px; cursor: pointer; }
.row:hover { background: var(--raised); }
.row[aria-current=true] { background: var(--tint); }
.name { font-weight: 600; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.what { grid-column: 2 / -1; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.busy { font-size: 0.8125rem; color: var(--accent); font-weight: 600; }
`);

class AgentList extends Part {
  static sheets = [virtualSheet, style];

  build() {
    this.heading = h("h2", { text: "Agents" });
    this.count = h("span", { class: "muted small", role: "status" });
    this.filter = h("input", { type: "search", placeholder: "Find an agent", "aria-label": "Find an agent", oninput: () => this.show(null), hidden: true });
    this.list = new VirtualList({
      label: "Agents", keyOf: (agent) => agent.clientId, make: () => this.#row(),
      onKey: (agent, event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); this.#choose(agent.clientId); } },
    });
    this.list.rowHeight = 58;
    this.empty = h("div", { class: "empty" }, h("strong", { text: "No agents yet" }), h("span", { text: "Add one: the page shows a code, and the machine asks for it." }));
    this.root.append(h("header", {}, h("div", { class: "head" }, this.heading, this.count), this.filter), this.list.element, this.empty);
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

  show(topics) {
    if (topics !== null && [...topics].some((topic) => topic.startsWith("uploads "))) this.#refresh();
    if (!Part.concerns(topics, "agents")) return;
    const { agents, areAgentsRead } = this.store;
    const wanted = this.filter.value.trim().toLowerCase();
    const found = [...agents.values()].filter((agent) => !wanted || agentName(agent).toLowerCase().includes(wanted) || agent.clientId.toLowerCase().includes(wanted));
    found.sort((one, other) => agentName(one).localeCompare(agentName(other)));
    mark(this.filter, { hidden: agents.size < 8 });
    const there = [...agents.values()].filter((agent) => agent.presence.connected).length;
    say(this.count, agents.size ? `${there} of ${agents.size} connected` : "");
    mark(this.empty, { hidden: agents.size > 0 || !areAgentsRead });
    mark(this.list.element, { hidden: agents.size === 0 });
    this.list.items = found;
  }

  #choose(clientId) {
    this.dispatchEvent(new CustomEvent("choose", { detail: clientId, bubbles: true, composed: true }));
  }

  #row() {
    const dot = h("span", { class: "dot", "aria-hidden": "true" });
    const title = h("bdi", { class: "name" });
    const busy = h("span", { class: "busy figures" });
    const what = h("span", { class: "what muted small" });
    const element = h("div", { onclick: () => this.#choose(element.dataset.key) }, dot, title, busy, what);
    return {
      element,
      show: (agent) => {
        const active = this.store.activeOf(agent);
        mark(dot, { class: agent.presence.connected ? "dot there" : "dot" });
        mark(element, { "aria-current": agent.clientId === this.agent ? "true" : null });
        say(title, shown(agentName(agent)));
        say(busy, agent.presence.connected && active ? `↑ ${active}` : "");
        mark(busy, { "aria-label": active ? counted(active, "upload") : null, title: active ? `${counted(active, "upload")} under way` : null });
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
