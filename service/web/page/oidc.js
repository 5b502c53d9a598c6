// OpenID Connect for a page, which can keep no secret: the authorisation code flow with PKCE (RFC 7636).

import { isAbort, Refusal } from "./refusal.js";

const RANDOM_BYTES = 32;
const LEEWAY_S = 300; // by how much the clocks of issuer and browser may differ

/** The tokens of somebody: `access`, `refresh` and `id` (null: none), who it is, and when they end. */
class Tokens {
  constructor(told, claims, before = null) {
    this.access = told.access_token;
    // An issuer that does not rotate refresh tokens sends none; the one before stays good.
    this.refresh = told.refresh_token ?? before?.refresh ?? null;
    this.id = told.id_token ?? before?.id ?? null;
    this.subject = claims?.sub ?? before?.subject ?? null;
    const life = Number(told.expires_in);
    this.endsAt = life > 0 ? performance.now() + life * 1000 : Infinity;
  }
}

/** An issuer of tokens, for the client and the scopes that the server names. */
export class Issuer {
  #authority;
  #client;
  #scope;
  #redirect;
  #described = null;

  constructor({ authority, client_id: client, scope }, redirect) {
    this.#authority = authority.replace(/\/$/, "");
    this.#client = client;
    this.#scope = scope;
    this.#redirect = redirect;
  }

  /** A sign-in to begin: the address that the browser goes to, and what is asked of it when it comes back. */
  async begin() {
    if (!globalThis.crypto?.subtle)
      throw new Refusal(0, "Browsers sign in only over HTTPS: open this page by its https address.");
    const described = await this.#description();
    const asked = { state: random(), nonce: random(), verifier: random() };
    const address = new URL(described.authorization_endpoint);
    const told = {
      response_type: "code",
      client_id: this.#client,
      redirect_uri: this.#redirect,
      scope: this.#scope,
      state: asked.state,
      nonce: asked.nonce,
      code_challenge: await challengeOf(asked.verifier),
      code_challenge_method: "S256",
    };
    for (const [name, value] of Object.entries(told)) address.searchParams.set(name, value);
    return { address: address.href, asked };
  }

  /** The tokens for what the browser came back with; a `Refusal` says why there are none. */
  async redeem(answer, { nonce, verifier }) {
    const described = await this.#description();
    // RFC 9207: an answer of another issuer must not be taken to this one.
    const named = answer.has("iss") || described.authorization_response_iss_parameter_supported;
    if (named && answer.get("iss") !== described.issuer)
      throw new Refusal(401, "Another issuer than the one that was asked has answered.");
    if (answer.has("error")) throw new Refusal(401, refused(Object.fromEntries(answer)));
    const told = await this.#tokens({
      grant_type: "authorization_code",
      code: answer.get("code"),
      redirect_uri: this.#redirect,
      code_verifier: verifier,
    });
    const claims = claimsOf(told.id_token);
    this.#check(claims, described.issuer);
    if (claims.nonce !== nonce) throw new Refusal(401, "The answer belongs to another sign-in.");
    return new Tokens(told, claims);
  }

  /** Fresh tokens for those whose refresh token is still good. */
  async refresh(tokens) {
    const told = await this.#tokens({ grant_type: "refresh_token", refresh_token: tokens.refresh });
    const claims = told.id_token ? claimsOf(told.id_token) : null;
    if (claims) this.#check(claims, (await this.#description()).issuer);
    if (claims && claims.sub !== tokens.subject) throw new Refusal(401, "Somebody else is signed in there.");
    return new Tokens(told, claims, tokens);
  }

  /** Give tokens back, as far as the issuer takes them; the address that signs out there (null: none). */
  async end(tokens, state) {
    const described = await this.#description();
    if (tokens.refresh && described.revocation_endpoint)
      await form(described.revocation_endpoint, { client_id: this.#client, token: tokens.refresh }).catch(
        () => {},
      );
    if (!described.end_session_endpoint) return null;
    const address = new URL(described.end_session_endpoint);
    const told = { client_id: this.#client, post_logout_redirect_uri: this.#redirect, state };
    if (tokens.id) told.id_token_hint = tokens.id;
    for (const [name, value] of Object.entries(told)) address.searchParams.set(name, value);
    return address.href;
  }

  /** What the issuer says of itself (OpenID Connect Discovery 1.0, 4), read once. */
  #description() {
    this.#described ??= this.#describe().catch((error) => {
      this.#described = null;
      throw error;
    });
    return this.#described;
  }

  async #describe() {
    const told = await answered(`${this.#authority}/.well-known/openid-configuration`, {
      headers: { Accept: "application/json" },
    });
    if (String(told.issuer).replace(/\/$/, "") !== this.#authority)
      throw new Refusal(0, "The sign-in service calls itself by another name than ISTHMUS_OIDC_ISSUER.");
    for (const name of ["authorization_endpoint", "token_endpoint"]) {
      if (!/^https?:\/\//.test(told[name] ?? ""))
        throw new Refusal(0, `The sign-in service tells no usable ${name}.`);
    }
    return told;
  }

  async #tokens(parameters) {
    const { token_endpoint: endpoint } = await this.#description();
    const told = await form(endpoint, { client_id: this.#client, ...parameters });
    if (typeof told.access_token !== "string" || !/^bearer$/i.test(told.token_type ?? ""))
      throw new Refusal(401, "The sign-in service gave no token of use here.");
    return told;
  }

  /**
   * An ID token that came from the token endpoint itself needs no look at its signature: TLS vouches for it
   * (OpenID Connect Core 1.0, 3.1.3.7).
   */
  #check(claims, issuer) {
    const audience = [claims?.aud].flat();
    const party = claims?.azp ?? this.#client;
    if (claims?.iss !== issuer || !audience.includes(this.#client) || party !== this.#client)
      throw new Refusal(401, "The sign-in was meant for another program.");
    if (!(claims.exp > Date.now() / 1000 - LEEWAY_S))
      throw new Refusal(401, "The sign-in has ended already. Is the clock of this device right?");
  }
}

/** The claims of a JSON Web Token, unchecked; `null` where it is none. */
export function claimsOf(token) {
  try {
    const body = token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
    const octets = Uint8Array.from(atob(body), (one) => one.charCodeAt(0));
    return JSON.parse(new TextDecoder().decode(octets));
  } catch {
    return null;
  }
}

function random() {
  return base64url(crypto.getRandomValues(new Uint8Array(RANDOM_BYTES)));
}

async function challengeOf(verifier) {
  return base64url(new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(verifier))));
}

function base64url(octets) {
  return btoa(String.fromCharCode(...octets))
    .replaceAll("+", "-")
    .replaceAll("/", "_")
    .replaceAll("=", "");
}

function form(address, parameters) {
  return answered(address, { method: "POST", body: new URLSearchParams(parameters) });
}

/** What the issuer answers; nothing of this server's goes along, and nothing of the issuer's stays. */
async function answered(address, options) {
  let response;
  try {
    response = await fetch(address, { credentials: "omit", cache: "no-store", ...options });
  } catch (error) {
    if (isAbort(error)) throw error;
    throw new Refusal(0, "The sign-in service cannot be reached. Check the connection and try again.");
  }
  const told = await response.json().catch(() => null);
  if (!response.ok) throw new Refusal(response.status, refused(told ?? {}));
  return told ?? {};
}

// RFC 6749 4.1.2.1 and 5.2, OpenID Connect Core 1.0, 3.1.2.6.
const REASONS = {
  access_denied: "The sign-in was refused.",
  invalid_client: "The sign-in service does not know this program (ISTHMUS_OIDC_CLIENT_ID).",
  invalid_grant: "The sign-in has ended.",
  invalid_scope: "The sign-in service does not know what is asked for (ISTHMUS_OIDC_SCOPE).",
  temporarily_unavailable: "The sign-in service is busy. Try again in a while.",
  unauthorized_client: "The sign-in service does not let this program sign in that way.",
};

function refused({ error = "", error_description: described = "" }) {
  const known = REASONS[error] ?? "You were not let in.";
  const told = String(described || (REASONS[error] ? "" : error)).slice(0, 300);
  return told ? `${known} The sign-in service says: ${told}` : known;
}
