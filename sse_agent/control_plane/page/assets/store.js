// What is known of all agents: read from the lists, kept true by the stream. Elements look here and never ask twice.

import { repliesOf } from "./replies.js";
import { Uploads } from "./uploads.js";

const CHAT_LIMIT = 500;
const TELL_MS = 100;

/** `change` events carry `detail`: a set of topics: `agents`, `uploads <id>`, `progress <id>`, `chat <id>`, `notice`. */
export class Store extends EventTarget {
  agents = new Map();
  #client;
  #uploads = new Map();
  #chat = new Map();
  #topics = new Set();
  #timer = null;
  #instance = null;
  #areAgentsRead = false;
  #asked = new Map();
  #toldOver = [];

  constructor(client) {
    super();
    this.#client = client;
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

  /** The lines of the chat with an agent, oldest first: {id, at, from, text, isOurs, status}. */
  chat(clientId) {
    if (!this.#chat.has(clientId)) {
      this.#chat.set(clientId, { lines: [], isRead: false });
      if (this.#instance) this.#readChat(clientId);
    }
    return this.#chat.get(clientId);
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
      this.#asked.set(id, { clientId, fileId });
      return await this.#client.outcome(id);
    } finally {
      found.wish(fileId, null);
      this.#tell(`uploads ${clientId}`);
    }
  }

  /** Ask for a file; the command's ID. */
  async start(clientId, payload, shownName) {
    const id = await this.#client.command(clientId, "UPLOAD_START", payload);
    this.#asked.set(id, { clientId, fileId: payload.fileId });
    this.uploads(clientId).found.asked(payload.fileId, shownName, new Date().toISOString());
    this.#tell(`uploads ${clientId}`);
    return id;
  }

  /** Say something to whoever is at the agent. */
  async talk(clientId, text, from) {
    const line = { id: null, at: new Date().toISOString(), from, text, isOurs: true, status: "sending" };
    this.#line(clientId, line);
    try {
      const { id, type } = await this.#client.order(clientId, "MESSAGE", { text, from });
      line.id = id;
      this.#once(clientId, line);
      line.status = "queued";
      // A line that begins with / has become the command that it means.
      if (type && type !== "MESSAGE") this.#answer(clientId, line, id);
    } catch (error) {
      line.status = error.slug === "unknown-chat-command" ? "no command" : "not sent";
      throw error;
    } finally {
      this.#tell(`chat ${clientId}`);
    }
  }

  async #answer(clientId, line, id) {
    let words;
    try {
      const record = await this.#client.outcome(id);
      line.status = record.outcome ?? "waits for the agent";
      words = repliesOf(record, (fileId) => this.#uploads.get(clientId)?.found.get(fileId)?.fileName ?? fileId);
    } catch (error) {
      words = error.message;
    }
    this.#line(clientId, { id: `${id} answer`, at: new Date().toISOString(), from: clientId, text: words, isOurs: false, isReply: true, status: "" });
  }

  /** Drop a line's double: the stream may have brought it before the answer did. */
  #once(clientId, line) {
    const chat = this.chat(clientId);
    chat.lines = chat.lines.filter((other) => other === line || other.id !== line.id);
  }

  // --- the stream ---

  #hello(hello) {
    const isOther = this.#instance !== null && this.#instance !== hello.instance;
    this.#instance = hello.instance;
    this.#readAgents();
    // What is durable follows by itself; what was not is read again where another process is the one that knows.
    if (isOther || this.#uploads.size + this.#chat.size > 0) this.#readAgain({ all: isOther });
  }

  #readAgain({ all }) {
    for (const [clientId, entry] of this.#uploads) if (all || !entry.isRead) this.#readUploads(clientId);
    for (const [clientId, entry] of this.#chat) if (all || !entry.isRead) this.#readChat(clientId);
  }

  #news({ type, data, id }) {
    if (type === "RESET") { this.#readAgents(); this.#readAgain({ all: true }); return; }
    if (type === "PRESENCE") return this.#merge(data.clientId, { presence: data.presence, presenceAt: performance.now() });
    if (type === "AGENT") return this.#agent(data);
    if (type === "COMMAND") return this.#command(data);
    this.#report(data, id);
  }

  #agent(record) {
    if (!record.isDeleted) { this.#keep(record); this.#tell("agents"); return; }
    this.agents.delete(record.clientId);
    this.#uploads.delete(record.clientId);
    this.#chat.delete(record.clientId);
    this.#tell("agents");
  }

  #command(command) {
    const { clientId, subject } = command;
    if (subject?.fileId && command.type === "UPLOAD_START") {
      if (this.#uploads.get(clientId)?.found.asked(subject.fileId, subject.fileName, command.queuedAt)) this.#tell(`uploads ${clientId}`);
      this.#remember(command.id, { clientId, fileId: subject.fileId });
    }
    if (subject?.text !== undefined && this.#chat.has(clientId)) {
      this.#line(clientId, {
        id: command.id, at: command.queuedAt, from: subject.from || command.actor || "", text: subject.text, isOurs: true, status: "queued",
      });
    }
    const line = this.#chat.get(clientId)?.lines.find((one) => one.id === command.id);
    if (line && command.status !== "queued") { line.status = lineStatus(command); this.#tell(`chat ${clientId}`); }
    if (command.outcome) this.#over(command);
  }

  #over(command) {
    const asked = this.#asked.get(command.id);
    this.#asked.delete(command.id);
    if (!asked || command.outcome !== "rejected" || command.type !== "UPLOAD_START") return;
    const found = this.#uploads.get(asked.clientId)?.found;
    const name = found?.get(asked.fileId)?.fileName;
    if (found?.refused(asked.fileId)) {
      this.dispatchEvent(new CustomEvent("refused", { detail: { ...asked, name, error: command.error } }));
      this.#tell(`uploads ${asked.clientId}`);
    }
  }

  #remember(id, what) {
    this.#asked.set(id, what);
    if (this.#asked.size > 10000) this.#asked.delete(this.#asked.keys().next().value);
  }

  #report(message, id) {
    const { clientId, type, payload, timestamp } = message;
    if (type === "CLIENT_STATUS") return this.#merge(clientId, { status: payload, statusAt: timestamp });
    if (type === "CLIENT_CONNECTED") {
      for (const upload of payload.unfinished || []) this.#upload(clientId, "UPLOAD_PROGRESS", { n: 0, ...upload }, timestamp);
      // It may have lost its journal, and then counts its revisions anew.
      if (this.#uploads.get(clientId)?.isRead) this.#readUploads(clientId);
      return this.#merge(clientId, { connection: payload, connectionAt: timestamp });
    }
    if (type === "MESSAGE") {
      if (this.#chat.has(clientId)) this.#line(clientId, agentLine(message, id));
      return undefined;
    }
    return this.#upload(clientId, type, payload, timestamp);
  }

  #upload(clientId, type, payload, at) {
    const entry = this.#uploads.get(clientId);
    if (!entry || !payload?.fileId) return;
    const changed = entry.found.report(type, payload, at);
    entry.next?.report(type, payload, at);
    if (!changed) return;
    const upload = entry.found.get(payload.fileId);
    if (changed === "state" && type !== "UPLOAD_PROGRESS") this.#toldOver.push({ clientId, upload });
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
        for (const record of page) next.record(record);
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

  async #readChat(clientId) {
    const chat = this.#chat.get(clientId);
    try {
      const path = `/agents/${encodeURIComponent(clientId)}/chat`;
      const { lines } = await this.#client.request("GET", path, { query: { limit: "200" } });
      for (const line of lines) this.#line(clientId, { ...line, isOurs: line.isFromService });
      chat.isRead = true;
    } catch (error) {
      chat.error = error.message;
    }
    this.#tell(`chat ${clientId}`);
  }

  #line(clientId, line) {
    const chat = this.chat(clientId);
    const same = line.id === null ? undefined : chat.lines.find((other) => other.id === line.id);
    if (same) return;
    const place = chat.lines.findLastIndex((other) => other.at <= line.at) + 1;
    chat.lines.splice(place, 0, line);
    if (chat.lines.length > CHAT_LIMIT) chat.lines.splice(0, chat.lines.length - CHAT_LIMIT);
    this.#tell(`chat ${clientId}`);
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

function agentLine(message) {
  const { payload } = message;
  return { id: message.id, at: message.timestamp, from: payload.from || message.clientId, text: payload.text, isOurs: false, status: "" };
}

function lineStatus(command) {
  if (command.outcome === "completed") return "delivered";
  if (command.outcome) return command.error?.message || command.outcome;
  return command.status;
}
