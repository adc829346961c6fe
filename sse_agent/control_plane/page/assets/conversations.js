// What is said between people and agents: read when it is first looked at, kept true by the stream.

import { repliesOf } from "./replies.js";

const LIMIT = 500;
// Of so many commands, the newest, the replies are read when the chat is.
const REPLIES = 30;

/** `tell(clientId)`: its lines changed. `nameOf(clientId, fileId)`: what people call an upload. */
export class Conversations {
  #client;
  #tell;
  #nameOf;
  #all = new Map();
  #answering = new Set();

  constructor(client, { tell, nameOf }) {
    this.#client = client;
    this.#tell = tell;
    this.#nameOf = nameOf;
  }

  get size() {
    return this.#all.size;
  }

  /** `{lines, isRead, error}`; `lines`, oldest first: {id, at, from, text, isOurs, isCommand, status}. Read at once if it `canRead`. */
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
    const isCommand = text.startsWith("/") && !text.startsWith("//");
    const line = { id: null, at: new Date().toISOString(), from, text: text.replace(/^\/\//u, "/"), isOurs: true, isCommand, status: "sending" };
    this.#put(clientId, line);
    try {
      const { id, type } = await this.#client.order(clientId, "MESSAGE", { text, from });
      line.id = id;
      this.#once(clientId, line);
      line.status = "queued";
      // A line that begins with / has become the command that it means.
      if (type && type !== "MESSAGE") this.#answer(clientId, id);
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
      const from = subject.from || command.actor || "";
      const isIt = (one) => one.status === "sending" && one.text === subject.text && one.from === from;
      // The stream may bring it before the answer to our request does: it is that line, not another one.
      const ours = this.#all.get(clientId).lines.find(isIt);
      if (ours) ours.id = command.id;
      this.#put(clientId, {
        id: command.id, at: command.queuedAt, from, text: subject.text, isOurs: true,
        isCommand: command.type !== "MESSAGE", status: "queued",
      });
    }
    const line = this.#all.get(clientId).lines.find((one) => one.id === command.id);
    if (!line || command.status === "queued") return;
    line.status = statusOf(command);
    this.#tell(clientId);
    if (line.isCommand && command.outcome) this.#answer(clientId, command.id);
  }

  /** A MESSAGE that an agent reported. */
  message({ id, clientId, timestamp, payload }) {
    if (!this.#all.has(clientId)) return;
    this.#put(clientId, { id, at: timestamp, from: payload.from || clientId, text: payload.text, isOurs: false, status: "" });
  }

  /** Put what came of a line that is a command below it, once it is known; whoever asks first asks for all. */
  async #answer(clientId, id, withinS = 30) {
    const answerId = `${id} answer`;
    const has = (wanted) => this.#all.get(clientId)?.lines.find((line) => line.id === wanted);
    if (this.#answering.has(id) || has(answerId)) return;
    this.#answering.add(id);
    try {
      const record = await this.#client.outcome(id, { withinS });
      const line = has(id);
      if (!line) return;
      line.status = record.outcome ?? (record.acceptedAt ? "accepted" : "waits for the agent");
      this.#tell(clientId);
      if (record.outcome === null) return;
      const text = repliesOf(record, (fileId) => this.#nameOf(clientId, fileId));
      this.#put(clientId, { id: answerId, at: record.finishedAt ?? new Date().toISOString(), from: clientId, text, isOurs: false, isReply: true, status: "" });
    } catch { /* The line stands there without; the next reading asks again. */ } finally {
      this.#answering.delete(id);
    }
  }

  /** What came of the newest commands among the lines, one after the other. */
  async #answers(clientId, lines) {
    for (const { id } of lines.filter((line) => line.isCommand).slice(-REPLIES).reverse()) await this.#answer(clientId, id, 0);
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
      const read = lines.map((line) => ({ ...line, isOurs: line.isFromService, isCommand: line.type !== "MESSAGE" }));
      for (const line of read) this.#put(clientId, line);
      chat.isRead = true;
      this.#answers(clientId, read);
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
  if (command.outcome === "completed") return command.type === "MESSAGE" ? "delivered" : "completed";
  if (command.outcome) return command.error?.message || command.outcome;
  return command.status;
}
