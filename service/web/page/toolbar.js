// The viewer's tools: what dragging does, windows, and how the image lies.

import { button, fill, h, icon } from "./dom.js";

const TOOLS = [
  { name: "window", label: "Window", picture: "contrast", key: "w" },
  { name: "zoom", label: "Zoom", picture: "zoom", key: "z" },
  { name: "pan", label: "Move", picture: "move", key: "p" },
  { name: "scroll", label: "Scroll", picture: "stack", key: "s" },
];

/** Buttons that call `act`; `tool` is what dragging does. */
export class Toolbar {
  tool = "window";
  presets = [];
  #offered = "";

  constructor(act) {
    this.tools = h(
      "div",
      { class: "group", role: "radiogroup", "aria-label": "Dragging" },
      TOOLS.map(({ name, label, picture, key }) =>
        h(
          "button",
          {
            type: "button",
            class: "button tool",
            role: "radio",
            "aria-checked": String(name === this.tool),
            "data-tool": name,
            title: `${label} by dragging (${key})`,
            onclick: () => this.choose(name),
          },
          icon(picture),
          h("span", { text: label }),
        ),
      ),
    );
    this.choice = h("select", {
      class: "presets",
      "aria-label": "Window",
      title: "Window",
      onchange: () => act.window(this.presets[Number(this.choice.value)]?.window ?? null),
    });
    this.buttons = {
      invert: button("invert", "Invert", act.invert, { bare: true, key: "i" }),
      mirror: button("flip", "Flip", act.mirror, { bare: true, key: "h" }),
      turn: button("rotate", "Rotate", act.turn, { bare: true, key: "r" }),
      fit: button("fit", "Fit", act.fit, { bare: true, key: "f" }),
      reset: button("reset", "Reset", act.reset, { bare: true, key: "x" }),
      panel: button("info", "Attributes", act.panel, { bare: true, key: "m", "aria-pressed": "false" }),
    };
    this.element = h(
      "div",
      { class: "toolbar", role: "toolbar", "aria-label": "Tools" },
      this.tools,
      this.choice,
      h("div", { class: "group" }, Object.values(this.buttons)),
    );
    this.offer([], false, null);
  }

  /** Have dragging do something else. */
  choose(name) {
    this.tool = name;
    for (const one of this.tools.children)
      one.setAttribute("aria-checked", String(one.dataset.tool === name));
  }

  pressed(name, is) {
    this.buttons[name].setAttribute("aria-pressed", String(is));
  }

  /** Offer these presets; `possible` says whether the image can be windowed, `chosen` how it is. */
  offer(presets, possible, chosen) {
    this.presets = possible ? presets : [];
    const told = JSON.stringify([presets, possible]);
    if (told !== this.#offered) {
      this.#offered = told;
      fill(
        this.choice,
        h("option", { value: "own", text: possible ? "Own window" : "As stored" }),
        h("option", { value: "free", text: "By hand", hidden: true }),
        this.presets.map((one, place) => h("option", { value: String(place), text: one.label })),
      );
      this.choice.disabled = !possible;
    }
    const same = this.presets.findIndex(
      ({ window }) =>
        chosen &&
        window.center === chosen.center &&
        window.width === chosen.width &&
        window.kind === chosen.kind,
    );
    this.choice.value = !chosen || !possible ? "own" : same >= 0 ? String(same) : "free";
  }
}
