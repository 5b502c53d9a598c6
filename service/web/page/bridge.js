// The bridge's HTTP interface: peers, echo, jobs, and each peer as a DICOMweb server.

import { Dicomweb } from "./dicomweb.js";

const POLL_MS = 1000;
const JSON_TYPE = "application/json";

/** The bridge at an address, whose answers are as openapi/bridge.yaml says. */
export class Bridge {
  #http;

  constructor(address, session) {
    this.address = address.replace(/\/$/, "");
    this.#http = new Dicomweb(this.address, session, { credentials: "include" });
  }

  /** The peers: `name`, `ae_title`, `host`, `port`, `services`. */
  async peers(signal) {
    const response = await this.#http.get(`${this.address}/peers`, JSON_TYPE, signal);
    const told = await response.json();
    return Array.isArray(told) ? told : (told.peers ?? []);
  }

  /** Whether a peer answers; throws what went wrong. */
  async echo(name) {
    return (await this.#post(`/peers/${encodeURIComponent(name)}/echo`, {})).json().catch(() => ({}));
  }

  /** Begin to send `resources` to a peer (`store`), or to fetch them from there (`retrieve`); the job's id. */
  async begin(verb, name, resources) {
    const response = await this.#post(`/peers/${encodeURIComponent(name)}/${verb}`, { resources });
    return (response.headers.get("Location") ?? "").split("/").pop();
  }

  /** Follow a job until it is over: `tell` is called with each state of it. */
  async follow(id, tell, signal) {
    for (;;) {
      const response = await this.#http.get(`${this.address}/jobs/${id}`, JSON_TYPE, signal);
      const job = await response.json();
      tell(job);
      if (!["queued", "running"].includes(job.state)) return job;
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
      signal?.throwIfAborted();
    }
  }

  /** Have a job end. */
  async cancel(id) {
    await this.#http.fetch(`${this.address}/jobs/${id}`, { method: "DELETE" });
  }

  /** A peer as a DICOMweb server. */
  archive(name) {
    const root = `${this.address}/peers/${encodeURIComponent(name)}/dicom-web`;
    return new Dicomweb(root, this.#http.session, { credentials: "include" });
  }

  #post(path, body) {
    const headers = { "Content-Type": JSON_TYPE, Accept: JSON_TYPE };
    return this.#http.fetch(this.address + path, { method: "POST", headers, body: JSON.stringify(body) });
  }
}

/** Whether a peer is said to do something; one that says nothing of it may. */
export function does(peer, service) {
  return !Array.isArray(peer.services) || peer.services.includes(service);
}
