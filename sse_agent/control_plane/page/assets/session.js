// Signed in by a one-use link. The token lives in this module's memory and nowhere else; the cookie renews it.

import { placeOf } from "./client.js";

const AHEAD_MS = 60000;

/** Events: `change` when somebody is signed in or out. */
export class Session extends EventTarget {
  #token = null;
  #endsAt = 0;
  #renewing = null;
  who = null;

  /** From the link that this page was opened with; takes it off the address at once. */
  async begin() {
    const secret = new URLSearchParams(location.hash.slice(1)).get("signin");
    if (secret !== null) {
      history.replaceState(null, "", location.pathname + location.search);
      return this.who ? null : this.signIn(secret);
    }
    await this.renew();
    return null;
  }

  /** Why it did not work; null: it did. */
  async signIn(secret) {
    const answer = await this.#post("", { secret });
    if (answer.ok) return this.#take(await answer.json());
    const problem = await answer.json().catch(() => ({}));
    await this.renew();
    return this.who ? null : problem.status === 422 ? "This is no link of this control plane." : `${problem.title ?? "It did not work"}.`;
  }

  /** What a client asks for before every request. */
  token = async (isRefused) => {
    if (this.who === null) return null;
    if (isRefused || Date.now() > this.#endsAt - AHEAD_MS) await this.renew();
    return this.#token;
  };

  /** The next token, once for all who wait for it. */
  renew() {
    this.#renewing ??= this.#renew().finally(() => { this.#renewing = null; });
    return this.#renewing;
  }

  async signOut() {
    await fetch(`${placeOf("")}/api/v1/sessions`, { method: "DELETE" }).catch(() => {});
    this.#leave();
  }

  async #renew() {
    const answer = await this.#post("/renew", {});
    if (answer.ok) this.#take(await answer.json());
    else if (answer.status === 401 || answer.status === 403) this.#leave();
    else if (Date.now() > this.#endsAt) throw new Error("the control plane does not answer");
  }

  async #post(path, body) {
    const headers = { "Content-Type": "application/json" };
    try {
      return await fetch(`${placeOf("")}/api/v1/sessions${path}`, { method: "POST", headers, body: JSON.stringify(body), signal: AbortSignal.timeout(15000) });
    } catch {
      return new Response("{}", { status: 503 });
    }
  }

  #take(signedIn) {
    const wasOut = this.who === null;
    this.#token = signedIn.token;
    // By this machine's clock, which may be wrong: the server's own answer to an old token settles it.
    this.#endsAt = Date.now() + Math.max(60000, Date.parse(signedIn.expiresAt) - Date.now());
    this.who = { subject: signedIn.subject, scopes: signedIn.scopes };
    if (wasOut) this.dispatchEvent(new Event("change"));
    return null;
  }

  #leave() {
    this.#token = null;
    if (this.who === null) return;
    this.who = null;
    this.dispatchEvent(new Event("change"));
  }
}
