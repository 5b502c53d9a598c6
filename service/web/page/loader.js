// Frames on their way into the browser: the one that is looked at first, then its neighbours, a few at a
// time, within a bound of memory.

import { isAbort } from "./refusal.js";

/** Loads what lies at places of a stack. `load(place, signal)` resolves with something that has `bytes`. */
export class Loader {
  #load;
  #count;
  #atOnce;
  #mostBytes;
  #ready = new Map();
  #failed = new Map();
  #under = new Map();
  #wanted = [];
  #seen = null;
  #bytes = 0;

  constructor(count, load, { atOnce = 4, mostBytes = 256e6 } = {}) {
    this.#count = count;
    this.#load = load;
    this.#atOnce = atOnce;
    this.#mostBytes = mostBytes;
    this.onready = () => {};
  }

  /** What lies at a place if it is there; `undefined` if it is not. */
  peek(place) {
    return this.#ready.get(place);
  }

  /** Why a place could not be loaded; `undefined` if that is not so. */
  failure(place) {
    return this.#failed.get(place);
  }

  /** How many places are there. */
  get loaded() {
    return this.#ready.size;
  }

  /** Somebody looks at `place`, going on in `direction` (1 or -1): load it and what comes next. */
  focus(place, direction = 1) {
    this.#failed.delete(place);
    // What was looked at before stays on the screen until this is there.
    if (this.#ready.has(this.#wanted[0])) this.#seen = this.#wanted[0];
    this.#wanted = this.#order(place, direction);
    const rank = new Map(this.#wanted.map((one, order) => [one, order]));
    for (const [other, abort] of this.#under) {
      if (!rank.has(other)) this.#stop(other, abort);
    }
    if (!this.#ready.has(place) && !this.#under.has(place) && this.#under.size >= this.#atOnce) {
      // What is looked at does not wait for what is wanted last.
      const last = [...this.#under].reduce((worst, one) =>
        rank.get(one[0]) > rank.get(worst[0]) ? one : worst,
      );
      this.#stop(...last);
    }
    this.#pump();
  }

  /** Stop loading, and forget everything that was loaded. */
  clear() {
    for (const abort of this.#under.values()) abort.abort();
    for (const one of this.#ready.values()) one.close?.();
    this.#ready.clear();
    this.#failed.clear();
    this.#wanted = [];
    this.#bytes = 0;
  }

  /** Places by when they are wanted: as many as there is room for, two ahead for one behind. */
  #order(place, direction) {
    const each = this.#ready.size ? this.#bytes / this.#ready.size : 1e6;
    const room = Math.max(Math.min(Math.floor(this.#mostBytes / Math.max(each, 1)), this.#count), 1);
    const order = [place];
    for (let step = 1; order.length < room && step < this.#count; step += 1) {
      for (const offset of [2 * step - 1, 2 * step, -step]) {
        const one = place + offset * direction;
        if (one >= 0 && one < this.#count && order.length < room) order.push(one);
      }
    }
    return order;
  }

  #stop(place, abort) {
    this.#under.delete(place);
    abort.abort();
  }

  #pump() {
    for (const place of this.#wanted) {
      if (this.#under.size >= this.#atOnce) return;
      if (this.#ready.has(place) || this.#under.has(place) || this.#failed.has(place)) continue;
      this.#begin(place);
    }
  }

  async #begin(place) {
    const abort = new AbortController();
    this.#under.set(place, abort);
    try {
      const found = await this.#load(place, abort.signal);
      if (abort.signal.aborted) found.close?.();
      else this.#keep(place, found);
    } catch (error) {
      if (!isAbort(error)) this.#failed.set(place, error);
    }
    if (this.#under.get(place) === abort) this.#under.delete(place);
    if (!abort.signal.aborted) this.onready(place);
    this.#pump();
  }

  #keep(place, found) {
    this.#ready.set(place, found);
    this.#bytes += found.bytes;
    // What is wanted last, or not at all any more, makes room; never what is looked at, or on the screen.
    const rank = new Map(this.#wanted.map((one, order) => [one, order]));
    while (this.#bytes > this.#mostBytes) {
      const others = [...this.#ready.keys()].filter((one) => one !== this.#wanted[0] && one !== this.#seen);
      if (!others.length) return;
      const last = others.reduce((worst, one) =>
        (rank.get(one) ?? Infinity) >= (rank.get(worst) ?? Infinity) ? one : worst,
      );
      this.#bytes -= this.#ready.get(last).bytes;
      this.#ready.get(last).close?.();
      this.#ready.delete(last);
      if (last === place) {
        // There is no room for more than is there.
        this.#wanted = this.#wanted.slice(0, Math.max(this.#ready.size, 1));
        return;
      }
    }
  }
}
