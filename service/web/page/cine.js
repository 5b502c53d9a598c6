// Playing a stack of images at its rate.

import { button, h } from "./dom.js";

/** A button that plays and stops, and the rate in images a second. `next` goes on, or says that it has to wait. */
export class Cine {
  #next;
  #request = 0;
  #due = 0;

  constructor({ next }) {
    this.#next = next;
    this.play = button("play", "Play", () => this.toggle(), {
      bare: true,
      key: "Space",
      class: "when-stopped",
    });
    this.halt = button("pause", "Stop", () => this.toggle(), {
      bare: true,
      key: "Space",
      class: "when-playing",
      hidden: true,
    });
    this.field = h("input", {
      type: "number",
      min: 1,
      max: 60,
      step: 1,
      value: 15,
      "aria-label": "Images a second",
      title: "Images a second",
    });
    this.element = h("div", { class: "cine" }, this.play, this.halt, this.field);
  }

  set rate(rate) {
    this.field.value = String(Math.round(rate));
  }

  get rate() {
    return Math.min(Math.max(Number(this.field.value) || 15, 1), 60);
  }

  toggle() {
    if (this.#request) this.stop();
    else this.#start();
  }

  stop() {
    cancelAnimationFrame(this.#request);
    this.#request = 0;
    this.#show(false);
  }

  #start() {
    this.#due = 0;
    this.#show(true);
    const tick = (now) => {
      this.#request = requestAnimationFrame(tick);
      if (now < this.#due) return;
      // What could not be shown in time is shown late, not left out.
      if (this.#next()) this.#due = Math.max(this.#due + 1000 / this.rate, now);
    };
    this.#request = requestAnimationFrame(tick);
  }

  #show(playing) {
    const focused = [this.play, this.halt].includes(document.activeElement);
    this.play.hidden = playing;
    this.halt.hidden = !playing;
    if (focused) (playing ? this.halt : this.play).focus();
  }
}
