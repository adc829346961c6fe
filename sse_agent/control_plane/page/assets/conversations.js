// What is said between people and agents: read when it is first looked at, kept true by the stream.

import { repliesOf } from "./replies.js";

const LIMIT = 500;

/** `tell(clientId)`: its lines changed. `nameOf(clientId, fileId)`: what people call an upload. */
export class Conversations {
  #client;
  #tell;
  #nameOf;
  #all = new Map();

  constructor(client, { tell, nameOf }) {
    this.#client = client;
    this.#tell = tell;
    this.#nameOf = nameOf;
  }

  get size() {
    return this.#all.size;
  }

  /** `{lines, isRead, error}`; `lines`, oldest first: {id, at, from, text, isOurs, status}. Read at once if it `canRead`. */
  of(clientId, canRead) {
    if (!this.#all.has(clientId)) {
      this.#all.set(clientId, { lines: [], isRead: false });
      if (canRead) this.#read(clientId);
    }
    return this.#all.get(clientId);
  }

  forget(clientId) {
    this.#all.delete(clientId);
  }

  /** Read once more: all of them, or those that could not be read yet. */
  readAgain({ all }) {
    for (const [clientId, chat] of this.#all) if (all || !chat.isRead) this.#read(clientId);
  }

  /** Say something to whoever is at the agent. */
  async say(clientId, text, from) {
    const line = { id: null, at: new Date().toISOString(), from, text, isOurs: true, status: "sending" };
    this.#put(clientId, line);
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
      this.#tell(clientId);
    }
  }

  /** News of a command: it may be a line of ours. */
  command(command) {
    const { clientId, subject } = command;
    if (!this.#all.has(clientId)) return;
    if (subject?.text !== undefined) {
      this.#put(clientId, {
        id: command.id, at: command.queuedAt, from: subject.from || command.actor || "", text: subject.text, isOurs: true, status: "queued",
      });
    }
    const line = this.#all.get(clientId).lines.find((one) => one.id === command.id);
    if (line && command.status !== "queued") { line.status = statusOf(command); this.#tell(clientId); }
  }

  /** A MESSAGE that an agent reported. */
  message({ id, clientId, timestamp, payload }) {
    if (!this.#all.has(clientId)) return;
    this.#put(clientId, { id, at: timestamp, from: payload.from || clientId, text: payload.text, isOurs: false, status: "" });
  }

  async #answer(clientId, line, id) {
    let words;
    try {
      const record = await this.#client.outcome(id);
      line.status = record.outcome ?? "waits for the agent";
      words = repliesOf(record, (fileId) => this.#nameOf(clientId, fileId));
    } catch (error) {
      words = error.message;
    }
    this.#put(clientId, { id: `${id} answer`, at: new Date().toISOString(), from: clientId, text: words, isOurs: false, isReply: true, status: "" });
  }

  /** Drop a line's double: the stream may have brought it before the answer did. */
  #once(clientId, line) {
    const chat = this.of(clientId, false);
    chat.lines = chat.lines.filter((other) => other === line || other.id !== line.id);
  }

  async #read(clientId) {
    const chat = this.#all.get(clientId);
    try {
      const path = `/agents/${encodeURIComponent(clientId)}/chat`;
      const { lines } = await this.#client.request("GET", path, { query: { limit: "200" } });
      for (const line of lines) this.#put(clientId, { ...line, isOurs: line.isFromService });
      chat.isRead = true;
    } catch (error) {
      chat.error = error.message;
    }
    this.#tell(clientId);
  }

  #put(clientId, line) {
    const chat = this.of(clientId, false);
    const same = line.id === null ? undefined : chat.lines.find((other) => other.id === line.id);
    if (same) return;
    const place = chat.lines.findLastIndex((other) => other.at <= line.at) + 1;
    chat.lines.splice(place, 0, line);
    if (chat.lines.length > LIMIT) chat.lines.splice(0, chat.lines.length - LIMIT);
    this.#tell(clientId);
  }
}

function statusOf(command) {
  if (command.outcome === "completed") return "delivered";
  if (command.outcome) return command.error?.message || command.outcome;
  return command.status;
}
