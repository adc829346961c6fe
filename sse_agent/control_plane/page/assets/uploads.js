// What is known of one agent's uploads. Of two reports about one upload the higher revision counts.

export const OVER = new Set(["complete", "failed", "cancelled"]);
const STATES = {
  UPLOAD_PAUSED: "paused",
  UPLOAD_RESUMED: "queued",
  UPLOAD_CANCELLED: "cancelled",
  UPLOAD_COMPLETE: "complete",
  UPLOAD_FAILED: "failed",
};

/** In the order in which people look for them. */
export const ORDER = ["uploading", "waiting", "queued", "paused", "failed", "complete", "cancelled"];

/** By `fileId`; of each what the list shows. */
export class Uploads {
  #all = new Map();
  #asked = new Map();
  #names = new Map();
  counts = Object.fromEntries(ORDER.map((state) => [state, 0]));

  /** An empty one with the names: to be filled anew. */
  heir() {
    const heir = new Uploads();
    heir.#names = this.#names;
    return heir;
  }

  get size() {
    return this.#all.size;
  }

  get(fileId) {
    return this.#all.get(fileId);
  }

  values() {
    return this.#all.values();
  }

  /** A record of `GET …/uploads`. */
  record(record) {
    const details = record.progress || record.result || {};
    if (record.fileName) this.#names.set(record.fileId, record.fileName);
    return this.#put(record.fileId, {
      ...pick(details), state: record.state, revision: record.revision ?? 0, n: record.progress?.n ?? 0,
      offset: record.offset ?? 0, fileSize: record.fileSize ?? details.fileSize ?? null, isLost: record.isLost,
      updatedAt: record.updatedAt, asked: record.asked?.status ?? null,
    });
  }

  /** An event that an agent reported: whether anything changed. */
  report(type, payload, at) {
    if (type === "UPLOAD_PROGRESS") return this.#put(payload.fileId, { ...pick(payload), state: payload.state, updatedAt: at });
    const state = STATES[type];
    if (!state) return false;
    const more = state === "complete" ? { offset: payload.fileSize, bytesSent: payload.fileSize } : {};
    return this.#put(payload.fileId, { ...pick(payload), ...more, state, n: 0, updatedAt: at });
  }

  /** Somebody asked for it; the agent has not said anything about it yet. `asked`: how far the command is. */
  asked(fileId, fileName, at) {
    if (fileName) this.#names.set(fileId, fileName);
    const known = this.#all.get(fileId);
    if (known) { known.fileName = this.#nameOf(fileId); return true; }
    return this.#put(fileId, { state: "queued", revision: 0, n: 0, offset: 0, fileSize: null, asked: "queued", updatedAt: at });
  }

  /** News of the command that asked for it: `status` as in its record. */
  heard(fileId, status) {
    const known = this.#all.get(fileId);
    if (!known?.asked || known.asked === status) return false;
    known.asked = status;
    known.isLost = status === "unknown";
    return true;
  }

  /** It was refused before it became anything. */
  refused(fileId) {
    const known = this.#all.get(fileId);
    if (!known?.asked) return false;
    this.counts[known.state] -= 1;
    return this.#all.delete(fileId);
  }

  /** What was asked of an upload and is not so yet: `pausing`, `resuming`, `cancelling`; null: nothing. */
  wish(fileId, word) {
    if (word === null) return this.#asked.delete(fileId);
    this.#asked.set(fileId, word);
    return true;
  }

  wishOf(fileId) {
    return this.#asked.get(fileId) ?? null;
  }

  #nameOf(fileId) {
    return this.#names.get(fileId) ?? null;
  }

  #put(fileId, news) {
    const known = this.#all.get(fileId);
    // What was only asked for never overrules what the agent said.
    if (known && !known.asked && news.asked) return false;
    if (known && !known.asked) {
      if (news.revision < known.revision || (news.revision === known.revision && news.n <= known.n && news.n !== 0)) return false;
      if (news.revision === known.revision && known.n > 0 && news.n === 0) return false;
    }
    if (known) this.counts[known.state] -= 1;
    if (known && known.state !== news.state) this.#asked.delete(fileId);
    const kept = known ? { fileSize: known.fileSize, bytesSent: known.bytesSent } : {};
    const upload = { fileId, ...kept, ...news, isLost: news.isLost ?? false, asked: news.asked ?? null };
    upload.fileName = this.#nameOf(fileId);
    upload.fileSize ??= known?.fileSize ?? null;
    this.#all.set(fileId, upload);
    this.counts[upload.state] += 1;
    return known?.state === upload.state && !known.asked ? "progress" : "state";
  }
}

const MEMBERS = [
  "revision", "n", "offset", "bytesSent", "fileSize", "rate", "etaSeconds", "reason", "nextTryAt", "code", "message",
  "retryable", "seconds", "sha256",
];

function pick(details) {
  return Object.fromEntries(MEMBERS.filter((member) => details[member] !== undefined).map((member) => [member, details[member]]));
}
