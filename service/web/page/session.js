// Who uses the page, and with what their requests go: nothing of ours, or a token that is kept in memory only.

import { claimsOf } from "./oidc.js";
import { reached, Refusal, refusal } from "./refusal.js";

const AHEAD_MS = 20000;

/** Whoever it is: nobody signs in, or the browser does it by itself. */
export class Session {
  #scopes = null;
  /** Whether requests need a header, which links and pictures do not have. */
  bearer = false;
  /** What somebody is called, empty where nobody signs in here. */
  name = "";

  /** Whether something is permitted: `read`, `store`, `delete`, `render`, `share`. */
  may(scope) {
    return this.#scopes === null || this.#scopes.includes(scope);
  }

  /** A response, of whatever status. */
  fetch(url, options) {
    return reached(url, options);
  }

  /** Ask the server what is permitted here. A `Refusal` where it wants somebody else. */
  async identify() {
    const response = await this.fetch("identity.json", { headers: { Accept: "application/json" } });
    if (!response.ok) throw await refusal(response);
    const told = await response.json();
    this.#scopes = told.scopes;
    return told;
  }
}

/** Somebody with a token, which goes with every request. */
class Bearer extends Session {
  bearer = true;

  async fetch(url, options = {}) {
    for (let first = true; ; first = false) {
      const token = await this.token();
      const headers = { ...options.headers, Authorization: `Bearer ${token}` };
      const response = await reached(url, { ...options, headers });
      if (response.status !== 401) {
        this.accepted(token);
        return response;
      }
      if (!first || !(await this.renewed(token))) return response;
    }
  }

  /** Take note that a token is good. */
  accepted() {}

  /** Whether there is another token than this one, which was refused. */
  async renewed() {
    return false;
  }
}

/** Somebody who was given a link to one study: they may look at it, until it ends. */
export class Shared extends Bearer {
  constructor(token) {
    super();
    /** What makes an address of the study good for anybody. */
    this.link = token;
    this.study = null;
    this.ends = null;
  }

  async token() {
    return this.link;
  }

  async identify() {
    const told = await super.identify();
    [this.study = null] = told.studies ?? [];
    const ends = Number(claimsOf(this.link)?.exp);
    this.ends = ends > 0 ? new Date(ends * 1000) : null;
    if (!this.study) throw new Refusal(403, "The link names no study.");
    return told;
  }
}

/** Somebody who has signed in; `again` resolves with their tokens when the issuer gives no more by itself. */
export class SignedIn extends Bearer {
  #issuer;
  #tokens;
  #again;
  #good = false;
  #renewing = null;

  constructor(issuer, tokens, again) {
    super();
    this.#issuer = issuer;
    this.#tokens = tokens;
    this.#again = again;
    this.name = nameOf(claimsOf(tokens.id));
  }

  async token() {
    const { refresh, endsAt, access } = this.#tokens;
    if (refresh && this.#good && endsAt - performance.now() < AHEAD_MS) await this.renewed(access);
    return this.#tokens.access;
  }

  accepted(used) {
    if (used === this.#tokens.access) this.#good = true;
  }

  async renewed(used) {
    if (used !== this.#tokens.access) return true;
    if (!this.#good) return false; // one that never was would lead round in a circle
    this.#renewing ??= this.#renew().finally(() => {
      this.#renewing = null;
    });
    await this.#renewing;
    return true;
  }

  /** Sign out, here and at the issuer; the address to go to for that (null: none). */
  async end(state) {
    return this.#issuer.end(this.#tokens, state);
  }

  async #renew() {
    const tokens = (await this.#refreshed()) ?? (await this.#again());
    if (tokens.subject !== this.#tokens.subject) {
      // What is on the screen is of somebody else.
      location.reload();
      await new Promise(() => {});
    }
    this.#tokens = tokens;
    this.#good = false;
  }

  async #refreshed() {
    if (!this.#tokens.refresh) return null;
    try {
      return await this.#issuer.refresh(this.#tokens);
    } catch (error) {
      if (error.status >= 400 && error.status < 500) return null; // it says that this is over
      throw error;
    }
  }
}

function nameOf(claims) {
  const told = claims?.name || claims?.preferred_username || claims?.email || claims?.sub || "";
  return String(told).slice(0, 100);
}
