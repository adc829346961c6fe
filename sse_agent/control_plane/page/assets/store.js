// What is known of all agents: read from the lists, kept true by the stream. Elements look here and never ask twice.

import { Conversations } from "./conversations.js";
import { Uploads } from "./uploads.js";

const TELL_MS = 100;
const OVER_LIMIT = 100;

/** `change` events carry `detail`: a set of topics: `agents`, `uploads <id>`, `progress <id>`, `chat <id>`, `notice`. */
export class Store extends EventTarget {
  agents = new Map();
  #client;
  #uploads = new Map();
  #chats;
  #topics = new Set();
  #timer = null;
  #instance = null;
  #areAgentsRead = false;
  #asked = new Map();
  #toldOver = [];

  constructor(client) {
    super();
    this.#client = client;
    this.#chats = new Conversations(client, {
      tell: (clientId) => this.#tell(`chat ${clientId}`),
      nameOf: (clientId, fileId) => this.#uploads.get(clientId)?.found.get(fileId)?.fileName ?? fileId,
    });
    client.addEventListener("hello", (event) => this.#hello(event.detail));
    client.addEventListener("news", (event) => this.#news(event.detail));
  }

  get areAgentsRead() {
    return this.#areAgentsRead;
  }

  /** Of an agent; read when they are first asked for. */
  uploads(clientId) {
    if (!this.#uploads.has(clientId)) {
      this.#uploads.set(clientId, { found: new Uploads(), isRead: false });
      if (this.#instance) this.#readUploads(clientId);
    }
    return this.#uploads.get(clientId);
  }

  /** The chat with an agent; see Conversations. */
  chat(clientId) {
    return this.#chats.of(clientId, this.#instance !== null);
  }

  /** How many of an agent's uploads are under way: as its list says if that was read, else as it last reported. */
  activeOf(agent) {
    const entry = this.#uploads.get(agent.clientId);
    const counts = (entry?.isRead ? entry.found.counts : null) ?? (agent.status ?? agent.connection)?.uploads ?? {};
    return (counts.uploading ?? 0) + (counts.waiting ?? 0);
  }

  /** What ended since this was asked last, for whoever says it aloud: {clientId, upload}. */
  takeOver() {
    return this.#toldOver.splice(0);
  }

  // --- asking agents ---

  /** Pause, resume (retry) or cancel. Resolves with the command's record when it is over, or after a while. */
  async wish(clientId, fileId, type, word) {
    const { found } = this.uploads(clientId);
    found.wish(fileId, word);
    this.#tell(`uploads ${clientId}`);
    try {
      const id = await this.#client.command(clientId, type, { fileId });
      const record = await this.#client.outcome(id);
      // It stands until the agent is back.
      if (record.outcome === null) this.#remember(id, { clientId, fileId, isWish: true });
      else this.#fulfilled(clientId, fileId);
      return record;
    } catch (error) {
      this.#fulfilled(clientId, fileId);
      throw error;
    }
  }

  #fulfilled(clientId, fileId) {
    this.#uploads.get(clientId)?.found.wish(fileId, null);
    this.#tell(`uploads ${clientId}`);
  }

  /** Ask for a file; the command's ID. */
  async start(clientId, payload, shownName) {
    const id = await this.#client.command(clientId, "UPLOAD_START", payload);
    this.uploads(clientId);
    this.#start(id, clientId, payload.fileId, shownName, new Date().toISOString());
    return id;
  }

  /** Say something to whoever is at the agent. */
  talk(clientId, text, from) {
    return this.#chats.say(clientId, text, from);
  }

  // --- the stream ---

  #hello(hello) {
    const isOther = this.#instance !== null && this.#instance !== hello.instance;
    this.#instance = hello.instance;
    this.#readAgents();
    // What is durable follows by itself; what was not is read again where another process is the one that knows.
    if (isOther || this.#uploads.size + this.#chats.size > 0) this.#readAgain({ all: isOther });
  }

  #readAgain({ all }) {
    for (const [clientId, entry] of this.#uploads) if (all || !entry.isRead) this.#readUploads(clientId);
    this.#chats.readAgain({ all });
  }

  #news({ type, data }) {
    if (type === "RESET") { this.#readAgents(); this.#readAgain({ all: true }); return; }
    if (type === "PRESENCE") return this.#merge(data.clientId, { presence: data.presence, presenceAt: performance.now() });
    if (type === "AGENT") return this.#agent(data);
    if (type === "COMMAND") return this.#command(data);
    this.#report(data);
  }

  #agent(record) {
    if (!record.isDeleted) {
      // A new one's name is in the list only.
      if (!record.enrollment && !this.agents.has(record.clientId)) this.#readAgent(record.clientId);
      this.#keep(record);
      this.#tell("agents");
      return;
    }
    this.agents.delete(record.clientId);
    this.#uploads.delete(record.clientId);
    this.#chats.forget(record.clientId);
    this.#tell("agents");
  }

  #command(command) {
    const { clientId, subject } = command;
    if (subject?.fileId && command.type === "UPLOAD_START") this.#start(command.id, clientId, subject.fileId, subject.fileName, command.queuedAt);
    this.#chats.command(command);
    const asked = this.#asked.get(command.id);
    if (!asked) return;
    if (command.outcome) this.#asked.delete(command.id);
    if (asked.isWish) { if (command.outcome) this.#fulfilled(clientId, asked.fileId); return; }
    if (command.outcome === "rejected") this.#refused(asked, command.error);
    else if (this.#each(clientId, (uploads) => uploads.heard(asked.fileId, command.status))) this.#tell(`uploads ${clientId}`);
  }

  /** An upload was asked for: it is among the others until the agent speaks of it. */
  #start(id, clientId, fileId, name, at) {
    if (this.#each(clientId, (uploads) => uploads.asked(fileId, name, at))) this.#tell(`uploads ${clientId}`);
    this.#remember(id, { clientId, fileId });
  }

  #refused(asked, error) {
    const name = this.#uploads.get(asked.clientId)?.found.get(asked.fileId)?.fileName;
    if (this.#each(asked.clientId, (uploads) => uploads.refused(asked.fileId))) {
      this.dispatchEvent(new CustomEvent("refused", { detail: { ...asked, name, error } }));
      this.#tell(`uploads ${asked.clientId}`);
    }
  }

  /** Both what is shown and what is being read anew; whether any of it changed. */
  #each(clientId, change) {
    const { found, next } = this.#uploads.get(clientId) ?? {};
    return [...new Set([found, next])].filter(Boolean).map(change).some(Boolean);
  }

  #remember(id, what) {
    this.#asked.set(id, what);
    if (this.#asked.size > 10000) this.#asked.delete(this.#asked.keys().next().value);
  }

  #report(message) {
    const { clientId, type, payload, timestamp } = message;
    if (type === "CLIENT_STATUS") return this.#merge(clientId, { status: payload, statusAt: timestamp });
    if (type === "CLIENT_CONNECTED") {
      for (const upload of payload.unfinished || []) this.#upload(clientId, "UPLOAD_PROGRESS", { n: 0, ...upload }, timestamp);
      // It may have lost its journal, and then counts its revisions anew.
      if (this.#uploads.get(clientId)?.isRead) this.#readUploads(clientId);
      return this.#merge(clientId, { connection: payload, connectionAt: timestamp });
    }
    if (type === "MESSAGE") return this.#chats.message(message);
    return this.#upload(clientId, type, payload, timestamp);
  }

  #upload(clientId, type, payload, at) {
    const entry = this.#uploads.get(clientId);
    if (!entry || !payload?.fileId) return;
    const changed = entry.found.report(type, payload, at);
    entry.next?.report(type, payload, at);
    if (!changed) return;
    const upload = entry.found.get(payload.fileId);
    if (changed === "state" && type !== "UPLOAD_PROGRESS") { this.#toldOver.push({ clientId, upload }); if (this.#toldOver.length > OVER_LIMIT) this.#toldOver.shift(); }
    this.#tell(changed === "state" ? `uploads ${clientId}` : `progress ${clientId}`);
    if (entry.isRead && upload.fileName === null && !upload.isNameAsked) {
      upload.isNameAsked = true;
      this.#readOne(clientId, payload.fileId);
    }
  }

  // --- the lists ---

  async #readAgents() {
    const seen = new Set();
    try {
      for await (const page of this.#client.pages("/agents", "agents", (agent) => agent.clientId)) {
        for (const record of page) { seen.add(record.clientId); this.#keep(record); }
        this.#tell("agents");
      }
      for (const clientId of this.agents.keys()) if (!seen.has(clientId)) this.agents.delete(clientId);
      this.#areAgentsRead = true;
      this.#tell("agents");
    } catch { /* The stream comes again, and then this does. */ }
  }

  #keep(record) {
    // The stream tells nothing of keys; the lists do.
    const enrollment = record.enrollment ?? this.agents.get(record.clientId)?.enrollment ?? null;
    this.agents.set(record.clientId, { ...record, enrollment, presenceAt: performance.now() });
  }

  #merge(clientId, news) {
    const known = this.agents.get(clientId);
    if (!known) { this.#readAgent(clientId); return; }
    this.agents.set(clientId, { ...known, ...news });
    this.#tell("agents");
  }

  async #readAgent(clientId) {
    try {
      this.#keep(await this.#client.request("GET", `/agents/${encodeURIComponent(clientId)}`));
      this.#tell("agents");
    } catch { /* Not for us, or deleted since. */ }
  }

  async #readUploads(clientId) {
    const entry = this.#uploads.get(clientId);
    const next = entry.isRead ? entry.found.heir() : entry.found;
    entry.next = next;
    try {
      const path = `/agents/${encodeURIComponent(clientId)}/uploads`;
      for await (const page of this.#client.pages(path, "uploads", (upload) => upload.fileId)) {
        // Somebody began to read it once more.
        if (entry.next !== next) return;
        for (const record of page) {
          next.record(record);
          if (record.asked) this.#remember(record.asked.commandId, { clientId, fileId: record.fileId });
        }
        this.#tell(`uploads ${clientId}`);
      }
      entry.found = next;
      entry.isRead = true;
      entry.error = null;
    } catch (error) {
      entry.error = error.message;
    } finally {
      if (entry.next === next) entry.next = null;
    }
    this.#tell(`uploads ${clientId}`);
  }

  /** The name of an upload that was asked for elsewhere. */
  async #readOne(clientId, fileId) {
    try {
      const path = `/agents/${encodeURIComponent(clientId)}/uploads/${encodeURIComponent(fileId)}`;
      const record = await this.#client.request("GET", path);
      const found = this.#uploads.get(clientId)?.found;
      if (record.fileName) { found?.asked(fileId, record.fileName); this.#tell(`uploads ${clientId}`); }
    } catch { /* It goes by its ID. */ }
  }

  #tell(topic) {
    this.#topics.add(topic);
    this.#timer ??= setTimeout(() => {
      const topics = this.#topics;
      this.#topics = new Set();
      this.#timer = null;
      this.dispatchEvent(new CustomEvent("change", { detail: topics }));
    }, TELL_MS);
  }
}

/** How many seconds ago an agent was last heard of, as of now; null: never. */
export function ageOf(agent) {
  const age = agent.presence?.ageSeconds;
  return age === null || age === undefined ? null : age + (performance.now() - agent.presenceAt) / 1000;
}
