// The viewer of one series: images and what is done with them.

import { text, values } from "./attributes.js";
import { AttributePanel } from "./attribute-panel.js";
import { Cine } from "./cine.js";
import { isAbort } from "./dicomweb.js";
import { button, fill, h, icon, message } from "./dom.js";
import { date, personName, short } from "./format.js";
import { watch } from "./gestures.js";
import { modalityValue, storedValue } from "./grey.js";
import { Loader } from "./loader.js";
import { presetsOf } from "./presets.js";
import { aspectOf, loadSlot, rateOf, stackOf } from "./stack.js";
import { Stage } from "./stage.js";
import { instead } from "./without-picture.js";
import { thumbnail } from "./thumbnail.js";
import { Toolbar } from "./toolbar.js";

const MEMORY = (navigator.deviceMemory ?? 4) >= 4 ? 320e6 : 96e6;
const LARGE_STEP = 10;

/** Show a series, at one of its instances if the address names it; the function that ends it. */
export function viewerView(house, main, [study, series, instance]) {
  const viewer = new Viewer(house, { study, series }, instance);
  fill(main, viewer.element);
  document.documentElement.classList.add("viewing");
  viewer.load();
  return () => {
    document.documentElement.classList.remove("viewing");
    viewer.end();
  };
}

class Viewer {
  #archive;
  #resource;
  #first;
  #ending = new AbortController();
  #stack = [];
  #loader = null;
  #at = 0;
  #window = null;
  #inverted = false;
  #siblings = [];
  #pointed = null;
  #shown = null;

  constructor(house, resource, instance) {
    this.#archive = house.archive;
    this.#resource = resource;
    this.#first = instance;
    this.canvas = h("canvas", { class: "viewport", role: "img", "aria-label": "Image", tabindex: "0" });
    this.corners = Object.fromEntries(
      ["nw", "ne", "sw", "se"].map((name) => [name, h("div", { class: `corner ${name}` })]),
    );
    this.over = h("div", { class: "over" }, h("p", { class: "waiting", text: "Loading…" }));
    this.slider = h("input", {
      type: "range",
      min: 1,
      max: 1,
      value: 1,
      step: 1,
      "aria-label": "Image",
      oninput: () => this.go(Number(this.slider.value) - 1),
    });
    this.cine = new Cine({ next: () => this.#next() });
    this.strip = h("nav", { class: "strip", "aria-label": "Series" });
    this.panel = new AttributePanel(this.#archive, () => this.#togglePanel());
    this.toolbar = new Toolbar({
      window: (chosen) => this.setWindow(chosen),
      invert: () => this.invert(),
      mirror: () => this.stage.mirror(),
      turn: () => this.stage.turn(),
      fit: () => this.stage.fit(),
      reset: () => this.reset(),
      panel: () => this.#togglePanel(),
    });
    this.title = h("div", { class: "title" });
    this.element = h(
      "section",
      { class: "viewer" },
      h(
        "div",
        { class: "head" },
        h(
          "a",
          {
            class: "button bare",
            href: `#/studies/${resource.study}`,
            "aria-label": "Back to the study",
            title: "Back to the study (Esc)",
          },
          icon("back"),
        ),
        this.title,
        this.toolbar.element,
      ),
      h(
        "div",
        { class: "body" },
        this.strip,
        h("div", { class: "stage" }, this.canvas, Object.values(this.corners), this.over),
        this.panel.element,
      ),
      h(
        "div",
        { class: "foot" },
        this.cine.element,
        this.slider,
        (this.position = h("output", { class: "position" })),
      ),
    );
    this.stage = new Stage(this.canvas);
    this.stage.onresize = () => this.#tellCorners();
    watch(this.canvas, this.#actions(), () => this.toolbar.tool);
    document.addEventListener("keydown", (event) => this.#key(event), { signal: this.#ending.signal });
  }

  end() {
    this.#ending.abort();
    this.cine.stop();
    this.#loader?.clear();
    this.stage.close();
    this.panel.open = false;
  }

  /** Read what the series consists of, and show its first image. */
  async load() {
    const { signal } = this.#ending;
    try {
      const listing = this.#archive.search(
        `/studies/${this.#resource.study}/series`,
        { limit: 200, includefield: "StudyDescription" },
        signal,
      );
      const [stack, { matches }] = await Promise.all([
        stackOf(this.#archive, this.#resource, signal),
        listing,
      ]);
      this.#siblings = matches;
      this.#series = matches.find((one) => text(one, "0020000E") === this.#resource.series) ?? {};
      this.#stack = stack;
    } catch (error) {
      if (!isAbort(error))
        this.#tell(
          message(
            "alert",
            "The series could not be opened",
            error.message,
            button("reset", "Try again", () => this.load()),
          ),
        );
      return;
    }
    if (signal.aborted) return;
    this.#loader = new Loader(
      this.#stack.length,
      (place, abort) => loadSlot(this.#archive, this.#stack[place], abort),
      { mostBytes: MEMORY },
    );
    this.#loader.onready = (place) => this.#arrived(place);
    this.slider.max = String(Math.max(this.#stack.length, 1));
    this.element.classList.toggle("single", this.#stack.length < 2);
    if (matchMedia("(pointer: coarse)").matches && this.#stack.length > 1) this.toolbar.choose("scroll");
    this.#showSiblings();
    this.#showTitle();
    this.cine.rate = this.#stack.length ? rateOf(this.#stack[0]) : 15;
    this.go(
      Math.max(
        this.#stack.findIndex((slot) => slot.instance === this.#first),
        0,
      ),
    );
    this.canvas.focus({ preventScroll: true });
  }

  #series = {};

  /** Go to a place of the stack. */
  go(place) {
    if (!this.#stack.length) return;
    const to = Math.min(Math.max(place, 0), this.#stack.length - 1);
    const direction = to < this.#at ? -1 : 1;
    this.#at = to;
    this.slider.value = String(to + 1);
    this.position.textContent = `${to + 1} / ${this.#stack.length}`;
    this.slider.setAttribute("aria-valuetext", `Image ${to + 1} of ${this.#stack.length}`);
    if (this.panel.open) this.panel.show(this.#stack[to]);
    const slot = this.#stack[to];
    const other = instead(this.#archive, slot, this.#ending.signal);
    if (other) {
      this.stage.clear();
      this.#shown = null;
      this.#tell(other);
      return;
    }
    this.#loader.focus(to, direction);
    this.#draw();
  }

  setWindow(window) {
    this.#window = window;
    this.#draw();
  }

  invert() {
    this.#inverted = !this.#inverted;
    this.#draw();
  }

  reset() {
    this.#window = null;
    this.#inverted = false;
    this.stage.reset();
    this.#draw();
  }

  /** Show the frame that is looked at, or say why it is not there. */
  #draw() {
    const slot = this.#stack[this.#at];
    const frame = this.#loader?.peek(this.#at);
    const failure = this.#loader?.failure(this.#at);
    this.element.classList.toggle("behind", !frame);
    if (failure) {
      this.stage.clear();
      this.#tell(
        message(
          "alert",
          "The image could not be shown",
          failure.message,
          button("reset", "Try again", () => this.go(this.#at)),
        ),
      );
    } else if (frame) {
      if (this.#shown && this.#shown !== frame) this.#shown.rest();
      this.#shown = frame;
      this.stage.show(frame.draw(this.#window, this.#inverted), frame.width, frame.height, aspectOf(slot));
      this.#tell(null);
      this.toolbar.offer(
        presetsOf(slot, text(this.#series, "00080060")),
        frame.ownWindow !== null,
        this.#window,
      );
    } else if (!this.#shown) {
      this.#tell(h("p", { class: "waiting", text: "Loading…" }));
    }
    this.#tellCorners();
  }

  #arrived(place) {
    if (place === this.#at) this.#draw();
  }

  /** The next image of a cine; false while it is not there yet. */
  #next() {
    if (this.#stack.length < 2) return false;
    const next = (this.#at + 1) % this.#stack.length;
    if (this.#loader.peek(this.#at) === undefined && !this.#loader.failure(this.#at)) return false;
    this.go(next);
    return true;
  }

  #tell(content) {
    fill(this.over, content);
    this.over.hidden = content === null;
  }

  #actions() {
    return {
      begin: () => {
        this.#start = null;
      },
      end: () => {},
      window: (x, y) => this.#drag(x, y),
      zoom: (factor, at) => {
        this.stage.zoomBy(factor, at);
        this.#tellCorners();
      },
      pan: (x, y) => this.stage.moveBy(x, y),
      scroll: (steps) => this.go(this.#at + steps),
      fit: () => {
        this.stage.fit();
        this.#tellCorners();
      },
      probe: (at) => {
        this.#pointed = at;
        this.#tellValue();
      },
    };
  }

  #start = null;

  /** Dragging: to the right is wider, up is brighter; the wider the window, the larger the steps. */
  #drag(x, y) {
    const own = this.#shown?.ownWindow;
    if (!own) return;
    const from = this.#window ?? own;
    this.#start ??= Math.max(from.width / 300, 1e-9);
    const least = from.kind === "LINEAR" ? 1 : this.#start / 100;
    this.setWindow({
      kind: from.kind,
      width: Math.max(from.width + x * this.#start, least),
      center: from.center + y * this.#start,
    });
  }

  #togglePanel() {
    this.panel.open = !this.panel.open;
    this.toolbar.pressed("panel", this.panel.open);
    if (this.panel.open && this.#stack.length) {
      this.panel.show(this.#stack[this.#at]);
      this.panel.search.focus();
    } else {
      this.canvas.focus({ preventScroll: true });
    }
  }

  #showTitle() {
    const study = this.#series;
    const name = personName(study, "00100010") || "No name";
    document.title = `${name} · Isthmus`;
    fill(
      this.title,
      h("strong", { text: name }),
      h("small", {
        text: [text(study, "00100020"), date(study, "00080020"), text(study, "0008103E")]
          .filter(Boolean)
          .join(" · "),
      }),
    );
  }

  #showSiblings() {
    fill(
      this.strip,
      this.#siblings.map((series) => {
        const uid = text(series, "0020000E");
        const current = uid === this.#resource.series;
        return h(
          "a",
          {
            href: `#/studies/${this.#resource.study}/series/${uid}`,
            "aria-current": current ? "true" : null,
            title: text(series, "0008103E") || null,
          },
          thumbnail(this.#archive, { study: this.#resource.study, series: uid }, { size: 96, alt: "" }),
          h("span", { class: "tag", text: text(series, "00080060") || "?" }),
          h("small", { text: text(series, "0008103E") || `No. ${text(series, "00200011") || "–"}` }),
        );
      }),
    );
    this.strip.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  #tellCorners() {
    const slot = this.#stack[this.#at];
    if (!slot) return;
    const { dataSet } = slot;
    const shown = this.#shown;
    const window = this.#window ?? shown?.ownWindow;
    fill(
      this.corners.nw,
      lines(
        personName(this.#series, "00100010"),
        text(this.#series, "00100020"),
        [date(this.#series, "00100030"), text(this.#series, "00100040")].filter(Boolean).join(" "),
      ),
    );
    fill(
      this.corners.ne,
      lines(
        text(this.#series, "00081030"),
        text(this.#series, "0008103E"),
        `Image ${text(dataSet, "00200013") || "–"}${slot.frames > 1 ? `, frame ${slot.frame} of ${slot.frames}` : ""}`,
      ),
    );
    fill(
      this.corners.sw,
      lines(
        shown?.ownWindow && window
          ? `C ${short(Math.round(window.center * 10) / 10)}  W ${short(Math.round(window.width * 10) / 10)}${this.#inverted ? "  inverted" : ""}`
          : "",
        shown ? `${Math.round(this.stage.scale * 100)} %` : "",
        text(dataSet, "00282110") === "01" ? "Lossy compression" : "",
      ),
    );
    this.#tellValue();
  }

  /** Where the pointer is, and what is there. */
  #tellValue() {
    const slot = this.#stack[this.#at];
    const pixel = this.#pointed && this.#shown ? this.stage.pixelAt(this.#pointed) : null;
    const location = slot ? text(slot.dataSet, "00201041") : "";
    let value = "";
    if (pixel && this.#shown.samples) {
      const bits = this.#shown.samples[pixel.row * this.#shown.width + pixel.column];
      value = short(modalityValue(this.#shown.grey.modality, storedValue(bits, this.#shown.slot.shape)));
    }
    const unit = value && slot ? String(values(slot.dataSet, "00281054")[0] ?? "") : "";
    fill(
      this.corners.se,
      lines(
        pixel ? `${pixel.column}, ${pixel.row}${value ? ` = ${value} ${unit}` : ""}` : "",
        location ? `at ${short(Number(location))} mm` : "",
      ),
    );
  }

  #toSeries(step) {
    const at = this.#siblings.findIndex((one) => text(one, "0020000E") === this.#resource.series);
    const next = this.#siblings[at + step];
    if (next) location.hash = `#/studies/${this.#resource.study}/series/${text(next, "0020000E")}`;
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    const field = event.target.closest("input, select, textarea");
    if (field) {
      if (event.key === "Escape" && this.panel.open) this.#togglePanel();
      if (
        field !== this.slider ||
        event.key.startsWith("Arrow") ||
        ["Home", "End", "PageUp", "PageDown"].includes(event.key)
      )
        return;
    }
    if (event.target.closest("button") && [" ", "Enter"].includes(event.key)) return;
    const act = this.#keys()[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  }

  #keys() {
    const by = (steps) => () => this.go(this.#at + steps);
    const presets = Object.fromEntries(
      this.toolbar.presets.map((one, place) => [String(place + 1), () => this.setWindow(one.window)]),
    );
    return {
      ArrowUp: by(-1),
      ArrowDown: by(1),
      PageUp: by(-LARGE_STEP),
      PageDown: by(LARGE_STEP),
      ArrowLeft: () => this.#toSeries(-1),
      ArrowRight: () => this.#toSeries(1),
      Home: () => this.go(0),
      End: () => this.go(this.#stack.length - 1),
      " ": () => this.cine.toggle(),
      "+": () => this.#actions().zoom(1.25, null),
      "-": () => this.#actions().zoom(0.8, null),
      0: () => this.setWindow(null),
      i: () => this.invert(),
      h: () => this.stage.mirror(),
      v: () => this.stage.upsideDown(),
      r: () => this.stage.turn(),
      f: () => this.#actions().fit(),
      a: () => {
        this.stage.actual();
        this.#tellCorners();
      },
      w: () => this.toolbar.choose("window"),
      z: () => this.toolbar.choose("zoom"),
      p: () => this.toolbar.choose("pan"),
      s: () => this.toolbar.choose("scroll"),
      m: () => this.#togglePanel(),
      x: () => this.reset(),
      Escape: () =>
        this.panel.open ? this.#togglePanel() : (location.hash = `#/studies/${this.#resource.study}`),
      ...presets,
    };
  }
}

function lines(...told) {
  return told.filter(Boolean).map((line) => h("div", { text: line }));
}
