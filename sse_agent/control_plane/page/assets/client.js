// The control plane, as a page talks to it: requests that may be repeated, and one stream for all elements.

import { randomId } from "./dom.js";
import { Parser, read } from "./eventstream.js";

const WITHIN_MS = 20000;
const LONGEST_WAIT_MS = 30000;
const HEALTHY_MS = 60000;
const HIDDEN_MS = 60000;
const TRIES = 6;

/** Where a control plane is: `baseUrl` as the page sees it, or, if that is "", where this file came from. No slash ends it. */
export function placeOf(baseUrl) {
  const found = baseUrl ? new URL(baseUrl, document.baseURI) : new URL("..", import.meta.url);
  return found.href.replace(/\/$/u, "");
}

/** An answer that is an error; `detail` says what to do. */
export class Problem extends Error {
  constructor(status, document) {
    super(document.detail || document.title || `the control plane answered ${status}`);
    this.status = status;
    this.slug = String(document.type || "").replace("urn:sse-agent:problem:", "");
  }

  /** Whether the same request may go through later. */
  get isForNow() {
    return this.status === 0 || this.status === 408 || this.status === 429 || this.status >= 500 || this.slug === "in-progress";
  }
}

const wait = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

/**
 * `baseUrl`: see `placeOf`. `token(isRefused)`: a viewer token, or null when
 * nobody is signed in; `isRefused` says that the last one was not taken.
 *
 * Events: `state` (see `state`), `hello` (`detail`: HELLO's data), `news` (`detail`: {type, data, id}).
 */
export class Client extends EventTarget {
  #baseUrl;
  #token;
  #users = 0;
  #abort = null;
  #position = null;
  #leastWaitMs = 0;
  #wake = () => { this.#isWoken = true; };
  #isWoken = false;

  /** What the token may: `watch`, `command`, `manage`; null: not told yet. */
  scopes = null;

  /** connecting · connected · waiting (with `nextTryAt`, ms) · signed-out · asleep */
  state = { word: "connecting", nextTryAt: null, reason: "" };

  constructor({ baseUrl = "", token }) {
    super();
    this.#baseUrl = placeOf(baseUrl);
    this.#token = token;
    document.addEventListener("visibilitychange", () => this.#onVisibility());
    addEventListener("online", () => this.#wake());
  }

  // --- requests ---

  /** JSON of the answer. With `key` the request is repeated until it is answered, or tried often enough. */
  async request(method, path, { body, key, query, signal } = {}) {
    let tries = 0;
    for (;;) {
      try {
        return await this.#once(method, path, { body, key, query, signal });
      } catch (error) {
        tries += 1;
        const isSafe = method === "GET" || method === "DELETE" || key;
        if (!(error instanceof Problem) || !error.isForNow || !isSafe || tries >= TRIES || signal?.aborted) throw error;
        await wait(Math.random() * Math.min(LONGEST_WAIT_MS, 500 * 2 ** tries) + (error.retryAfterMs || 0));
      }
    }
  }

  async #once(method, path, { body, key, query, signal }, isRefused = false) {
    const token = await this.#token(isRefused);
    if (token === null) {
      this.#become("signed-out");
      throw new Problem(401, { title: "Nobody is signed in" });
    }
    const headers = { Authorization: `Bearer ${token}`, Accept: "application/json" };
    if (body !== undefined) headers["Content-Type"] = "application/json";
    if (key) headers["Idempotency-Key"] = key;
    const url = `${this.#baseUrl}/api/v1${path}${query ? `?${new URLSearchParams(query)}` : ""}`;
    const longest = WITHIN_MS + 1000 * Number(query?.wait || 0);
    const signals = [AbortSignal.timeout(longest), ...(signal ? [signal] : [])];
    let answer;
    try {
      answer = await fetch(url, {
        method, headers, body: body === undefined ? undefined : JSON.stringify(body),
        credentials: "omit", cache: "no-store", redirect: "error", signal: AbortSignal.any(signals),
      });
    } catch (error) {
      if (signal?.aborted) throw error;
      throw new Problem(0, { title: "The control plane does not answer" });
    }
    if (answer.status === 401 && !isRefused) return this.#once(method, path, { body, key, query, signal }, true);
    return this.#read(answer);
  }

  async #read(answer) {
    if (answer.status === 204) return null;
    const isJson = /json/u.test(answer.headers.get("content-type") || "");
    const document = isJson ? await answer.json().catch(() => null) : null;
    if (answer.ok && document !== null) return document;
    // A 200 that is no JSON comes from some box on the way.
    const problem = new Problem(answer.ok ? 0 : answer.status, document || {});
    problem.retryAfterMs = 1000 * Math.min(60, Number(answer.headers.get("retry-after")) || 0);
    throw problem;
  }

  /** Queue a command: `{id, type}`. The ID is made here, so asking again is the same command. */
  async order(clientId, type, payload = {}, { lifeS } = {}) {
    const expiresAt = lifeS ? new Date(Date.now() + 1000 * lifeS).toISOString() : undefined;
    const path = `/agents/${encodeURIComponent(clientId)}/commands`;
    return this.request("POST", path, { key: randomId(), body: { type, payload, expiresAt } });
  }

  /** As `order`; only its ID. */
  async command(clientId, type, payload, options) {
    return (await this.order(clientId, type, payload, options)).id;
  }

  /** The command's record, once it has an outcome; as it is then, after `withinS`. */
  async outcome(id, { withinS = 30, signal } = {}) {
    const until = Date.now() + 1000 * withinS;
    for (;;) {
      const left = Math.ceil((until - Date.now()) / 1000);
      const query = { wait: String(Math.max(0, Math.min(20, left))) };
      const record = await this.request("GET", `/commands/${encodeURIComponent(id)}`, { query, signal });
      if (record.outcome !== null || left <= 0) return record;
    }
  }

  /** Every page of a list, one after the other. `keyOf` the last one is what the next page begins behind. */
  async *pages(path, list, keyOf, { limit = 1000, most = 50000 } = {}) {
    let after = "";
    for (let count = 0; count < most;) {
      const query = { limit: String(limit), ...(after === "" ? {} : { after }) };
      const page = (await this.request("GET", path, { query }))[list];
      yield page;
      count += page.length;
      if (page.length < limit) return;
      after = String(keyOf(page.at(-1)));
    }
  }

  // --- the stream ---

  /** The stream is open while anybody uses it. */
  use() {
    this.#users += 1;
    if (this.#users === 1) this.#run();
    let isUsed = true;
    return () => {
      if (!isUsed) return;
      isUsed = false;
      this.#users -= 1;
      if (this.#users === 0) { this.#abort?.abort(); this.#wake(); }
    };
  }

  /** After signing in: try at once. */
  retry() {
    this.#wake();
  }

  async #run() {
    let failures = 0;
    while (this.#users > 0) {
      if (document.hidden && this.state.word === "asleep") {
        await this.#sleep(null);
        continue;
      }
      this.#become("connecting");
      const begun = Date.now();
      const signs = { count: 0, reason: "" };
      await this.#stream(signs);
      if (this.#users === 0) break;
      if (this.state.word === "asleep") continue;
      if (this.state.word === "signed-out") { await this.#sleep(null); continue; }
      if (Date.now() - begun > HEALTHY_MS) failures = 0;
      const wasAlive = signs.count > 1;
      const most = wasAlive ? 2000 : Math.min(LONGEST_WAIT_MS, 1000 * 2 ** failures);
      if (!wasAlive) failures = Math.min(failures + 1, 10);
      const ms = this.#leastWaitMs + Math.random() * most;
      this.#leastWaitMs = 0;
      this.#become("waiting", { nextTryAt: Date.now() + ms, reason: signs.reason });
      await this.#sleep(ms);
    }
  }

  async #stream(signs, isRefused = false) {
    const token = await this.#token(isRefused).catch(() => undefined);
    if (token === null) return this.#become("signed-out");
    if (token === undefined) { signs.reason = "no token"; return undefined; }
    const headers = { Authorization: `Bearer ${token}`, Accept: "text/event-stream" };
    if (this.#position !== null) headers["Last-Event-ID"] = this.#position;
    this.#abort = new AbortController();
    let silenceMs = 10000;
    const first = setTimeout(() => this.#abort.abort(), 10000);
    try {
      const answer = await fetch(`${this.#baseUrl}/api/v1/stream`, {
        headers, credentials: "omit", cache: "no-store", redirect: "error", signal: this.#abort.signal,
      });
      if (answer.status === 401 && !isRefused) { clearTimeout(first); return await this.#stream(signs, true); }
      if (!answer.ok || !/^text\/event-stream/iu.test(answer.headers.get("content-type") || "")) {
        signs.reason = `answered ${answer.status}`;
        this.#leastWaitMs = 1000 * Math.min(60, Number(answer.headers.get("retry-after")) || 0);
        return undefined;
      }
      const onBlock = (block) => {
        if (block.event === "HELLO") { clearTimeout(first); silenceMs = 3000 * JSON.parse(block.data).heartbeatSeconds; }
        this.#take(block);
      };
      const parser = new Parser(onBlock, (ms) => { this.#leastWaitMs = Math.min(ms, 60000); });
      await read(answer, parser, () => silenceMs, () => { signs.count += 1; });
    } catch {
      signs.reason = "no answer";
    } finally {
      clearTimeout(first);
      this.#abort?.abort();
      this.#abort = null;
    }
    return undefined;
  }

  #take({ event, data, id }) {
    if (id !== null) this.#position = id;
    if (data === null) return;
    const parsed = JSON.parse(data);
    if (event === "HELLO") {
      if (this.#position === null) this.#position = String(parsed.position);
      this.scopes = parsed.scopes ?? null;
      this.#become("connected");
      this.dispatchEvent(new CustomEvent("hello", { detail: parsed }));
      return;
    }
    if (event === "RESET") this.#position = String(parsed.position);
    this.dispatchEvent(new CustomEvent("news", { detail: { type: event, data: parsed, id } }));
  }

  // A browser opens six connections to one host, for all tabs together: a tab that nobody sees gives its own back.
  #onVisibility() {
    clearTimeout(this.hiding);
    if (document.hidden) {
      this.hiding = setTimeout(() => {
        if (this.state.word !== "signed-out") { this.#become("asleep"); this.#abort?.abort(); }
      }, HIDDEN_MS);
    } else if (this.state.word === "asleep") {
      this.#become("connecting");
      this.#wake();
    }
  }

  #sleep(ms) {
    return new Promise((resolve) => {
      const awake = () => { this.#isWoken = false; this.#wake = () => { this.#isWoken = true; }; resolve(); };
      // Whoever wakes it while it is still about to fall asleep means it, too.
      if (this.#isWoken) { awake(); return; }
      const timer = ms === null ? null : setTimeout(awake, ms);
      this.#wake = () => { clearTimeout(timer); awake(); };
    });
  }

  #become(word, { nextTryAt = null, reason = "" } = {}) {
    this.state = { word, nextTryAt, reason };
    this.dispatchEvent(new CustomEvent("state", { detail: this.state }));
  }
}
