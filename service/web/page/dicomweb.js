// The DICOMweb interface, ours or that of a peer behind the bridge: search, metadata, store, delete.

import { values } from "./attributes.js";
import { isAbort, Refusal, refusal, refusalOf } from "./refusal.js";
import { Session } from "./session.js";

const JSON_TYPE = "application/dicom+json";
const TRIES = 4;
const MOST_PAUSE_S = 10;

/** A DICOMweb root, asked by whoever `session` is of; `shares` says whether it gives links to studies. */
export class Dicomweb {
  constructor(root, session = new Session(), { credentials = "same-origin", shares = false } = {}) {
    this.root = root.replace(/\/$/, "");
    this.session = session;
    this.credentials = credentials;
    this.shares = shares;
  }

  /** The URL of a study, series, instance, or of what lies below. */
  url({ study, series, instance, frame }, below = "") {
    const parts = [this.root, "studies", study];
    if (series) parts.push("series", series);
    if (instance) parts.push("instances", instance);
    if (frame) parts.push("frames", String(frame));
    return parts.join("/") + below;
  }

  /** One page of a search: `matches`, how many there are in all (null: many), and whether more follow. */
  async search(path, parameters, signal) {
    const query = new URLSearchParams(parameters);
    const response = await this.fetch(`${this.root}${path}?${query}`, {
      headers: { Accept: JSON_TYPE },
      signal,
    });
    const told = response.headers.get("X-Total-Count");
    return {
      matches: response.status === 204 ? [] : await contentOf(response),
      total: told === null ? null : Number(told),
      more: /additional results/.test(response.headers.get("Warning") ?? ""),
    };
  }

  /** The metadata of all instances of a resource; with `fields` only those attributes. */
  async metadata(resource, fields = [], signal) {
    const query = fields.length ? `?includefield=${fields.join(",")}` : "";
    const response = await this.fetch(this.url(resource, `/metadata${query}`), {
      headers: { Accept: JSON_TYPE },
      signal,
    });
    return contentOf(response);
  }

  /** What is at a URL, in one of the media types of `accept`. */
  async get(url, accept, signal) {
    return this.fetch(url, { headers: { Accept: accept }, signal });
  }

  /** Store one file; what was refused of it as sentences, none if all is well. */
  async store(file, signal) {
    const response = await this.fetch(
      `${this.root}/studies`,
      {
        method: "POST",
        headers: { "Content-Type": "application/dicom", Accept: JSON_TYPE },
        body: file,
        signal,
      },
      [202, 409, 413],
    );
    const type = response.headers.get("Content-Type") ?? "";
    if (!response.ok && !type.startsWith(JSON_TYPE)) return [await refusalOf(response)];
    const told = await contentOf(response);
    return [...values(told, "00081198"), ...values(told, "0008119A")].map(reason);
  }

  /** Delete a study, series or instance. */
  async remove(resource) {
    await this.fetch(this.url(resource), { method: "DELETE" });
  }

  /** A link to a study that is good for so many seconds: its `token`, and when it `ends`. */
  async share(study, seconds) {
    const response = await this.fetch(this.url({ study }, "/shares"), {
      method: "POST",
      headers: { "Content-Type": "application/json", Accept: "application/json" },
      body: JSON.stringify({ expires_in: seconds }),
    });
    const told = await contentOf(response);
    return { token: told.token, ends: new Date(told.expires) };
  }

  /** A response that is well, or in `also`; a server that is busy is asked again as it says. */
  async fetch(url, options, also = []) {
    for (let left = TRIES; ; left -= 1) {
      const response = await this.session.fetch(url, { credentials: this.credentials, ...options });
      if (response.ok || also.includes(response.status)) return response;
      if (response.status !== 503 || left <= 1) throw await refusal(response);
      await pause(Math.min(Number(response.headers.get("Retry-After")) || 1, MOST_PAUSE_S), options.signal);
    }
  }
}

async function contentOf(response) {
  try {
    return await response.json();
  } catch (error) {
    if (isAbort(error)) throw error;
    throw new Refusal(
      response.status,
      error instanceof SyntaxError
        ? "What answered is no DICOMweb server. You may have to sign in again: load the page anew."
        : "The answer broke off. Check the connection and try again.",
    );
  }
}

function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    const ended = () => {
      clearTimeout(timer);
      reject(new DOMException("No longer wanted.", "AbortError"));
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", ended);
      resolve();
    }, seconds * 1000);
    signal?.addEventListener("abort", ended, { once: true });
  });
}

// PS3.18 Table I.2-2, in words.
const REASONS = {
  0x0110: "The server failed while storing it; its log tells why.",
  0x0111: "Another object with the same UIDs is stored already, and it differs from this one.",
  0x0122: "Objects of this kind are not kept here.",
  0x0124: "You may not store this.",
  0xa700: "The server is out of room, or the file is too large.",
  0xa900: "The file contradicts itself: its header names another class than its content.",
  0xa901: "It belongs to another study.",
  0xc000: "This is no DICOM file, or a damaged one.",
  0xc122: "Its transfer syntax is not known here.",
};

function reason(failed) {
  const code = Number(values(failed, "00081197")[0] ?? 0);
  const comment = String(values(failed, "00000902")[0] ?? "");
  const known = REASONS[code] ?? `Refused for reason ${code.toString(16).toUpperCase().padStart(4, "0")}H.`;
  return comment && comment !== known ? `${known} (${comment})` : known;
}
