// The viewer of one series: images and what is done with them.

import { text } from "./attributes.js";
import { AttributePanel } from "./attribute-panel.js";
import { Cine } from "./cine.js";
import { Corners } from "./corners.js";
import { isAbort } from "./refusal.js";
import { button, fill, h, icon, message } from "./dom.js";
import { date, isolated, personName } from "./format.js";
import { watch } from "./gestures.js";
import { Loader } from "./loader.js";
import { presetsOf } from "./presets.js";
import { aspectOf, loadSlot, rateOf, stackOf } from "./stack.js";
import { Stage } from "./stage.js";
import { hasPicture, instead } from "./without-picture.js";
import { thumbnail } from "./thumbnail.js";
import { Toolbar } from "./toolbar.js";

const MEMORY = (navigator.deviceMemory ?? 4) >= 4 ? 320e6 : 96e6;
const LARGE_STEP = 10;
const MOST_SIBLINGS = 200;
const SCROLLING = [" ", "ArrowDown", "ArrowUp", "End", "Home", "PageDown", "PageUp"];

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
  #shown = null; // the frame on the screen, which stays until the next one is there, and its slot
  #slot = null;
  #told = null; // the slot of which something else than a picture is shown

  constructor(house, resource, instance) {
    this.#archive = house.archive;
    this.#resource = resource;
    this.#first = instance;
    this.canvas = h("canvas", { class: "viewport", role: "img", "aria-label": "Image", tabindex: "0" });
    this.corners = new Corners();
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
      mirror: () => this.#lie("mirror"),
      turn: () => this.#lie("turn"),
      fit: () => this.#lie("fit"),
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
        h("div", { class: "stage" }, this.canvas, this.corners.elements, this.over),
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
      const [stack, siblings, [own]] = await Promise.all([
        stackOf(this.#archive, this.#resource, signal),
        this.#seriesOf({ limit: MOST_SIBLINGS }),
        this.#seriesOf({ SeriesInstanceUID: this.#resource.series }),
      ]);
      this.#siblings = siblings;
      this.#series = own ?? {};
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
      (place, abort) => this.#load(this.#stack[place], abort),
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
    (this.over.querySelector(".report") ?? this.canvas).focus({ preventScroll: true });
  }

  #series = {};

  async #seriesOf(parameters) {
    const path = `/studies/${this.#resource.study}/series`;
    const asked = { ...parameters, includefield: "StudyDescription" };
    return (await this.#archive.search(path, asked, this.#ending.signal)).matches;
  }

  async #load(slot, signal) {
    return hasPicture(slot) ? loadSlot(this.#archive, slot, signal) : { bytes: 0 };
  }

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
    if (!hasPicture(slot)) {
      if (this.#told === slot) return;
      this.#clear();
      this.#tell(instead(this.#archive, slot, this.#ending.signal));
      this.#told = slot;
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
    if (!slot || !hasPicture(slot)) return;
    const frame = this.#loader.peek(this.#at);
    const failure = this.#loader.failure(this.#at);
    this.element.classList.toggle("behind", !frame);
    if (failure) {
      this.#clear();
      this.#tell(
        message(
          "alert",
          "The image could not be shown",
          failure.message,
          button("reset", "Try again", () => this.go(this.#at)),
        ),
      );
    } else if (frame) {
      if (this.#shown !== frame) this.#shown?.rest();
      this.#shown = frame;
      this.#slot = slot;
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

  /** Take the image off the screen, and all that is said of it. */
  #clear() {
    this.stage.clear();
    this.#shown?.rest();
    this.#shown = this.#slot = null;
    this.element.classList.remove("behind");
    this.corners.clear();
  }

  #arrived(place) {
    if (place === this.#at) this.#draw();
  }

  /** The next image of a cine; false while it is not there yet. */
  #next() {
    if (this.#stack.length < 2) return false;
    const next = (this.#at + 1) % this.#stack.length;
    const waited = hasPicture(this.#stack[this.#at]) && !this.#loader.failure(this.#at);
    if (waited && this.#loader.peek(this.#at) === undefined) return false;
    this.go(next);
    return true;
  }

  #tell(content) {
    this.#told = null;
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
      fit: () => this.#lie("fit"),
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
          .map(isolated)
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

  /** Have the image lie another way: `fit`, `actual`, `turn`, `mirror` or `upsideDown`. */
  #lie(way) {
    this.stage[way]();
    this.#tellCorners();
  }

  #tellCorners() {
    if (!this.#shown) return;
    const own = this.#shown.ownWindow;
    this.corners.tell(this.#slot, this.#series, this.stage, own && (this.#window ?? own), this.#inverted);
    this.#tellValue();
  }

  #tellValue() {
    if (!this.#shown) return;
    this.corners.point(this.#slot, this.#shown, this.#pointed && this.stage.pixelAt(this.#pointed));
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
    if (event.target.closest(".report, .attributes, video") && SCROLLING.includes(event.key)) return;
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
      h: () => this.#lie("mirror"),
      v: () => this.#lie("upsideDown"),
      r: () => this.#lie("turn"),
      f: () => this.#lie("fit"),
      a: () => this.#lie("actual"),
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
