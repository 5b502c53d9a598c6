// What is written over an image: whose it is, which it is, how it is shown, and what is under the pointer.

import { number, text, values } from "./attributes.js";
import { fill, h } from "./dom.js";
import { date, personName, short } from "./format.js";
import { modalityValue, storedValue } from "./grey.js";
import { sidesOf, sidesShown } from "./orientation.js";

const SIDES = ["top", "right", "bottom", "left"];

/** The writing in the corners and at the edges; all of it is about the image that is on the screen. */
export class Corners {
  constructor() {
    this.boxes = boxes(["nw", "ne", "sw", "se"], "corner");
    this.sides = boxes(SIDES, "side");
    this.elements = [...Object.values(this.boxes), ...Object.values(this.sides)];
  }

  /** Nothing is shown. */
  clear() {
    for (const one of this.elements) fill(one);
  }

  /** Describe `slot`, an image of `series`, and how it lies on `stage` in `window`; null where it has none. */
  tell(slot, series, stage, window, inverted) {
    const { nw, ne, sw } = this.boxes;
    const { dataSet } = slot;
    fill(
      nw,
      lines(
        personName(series, "00100010"),
        text(series, "00100020"),
        [date(series, "00100030"), text(series, "00100040")].filter(Boolean).join(" "),
      ),
    );
    fill(
      ne,
      lines(
        text(series, "00081030"),
        text(series, "0008103E"),
        [text(dataSet, "00200062"), text(dataSet, "00185101")].filter(Boolean).join(" "),
        `Image ${text(dataSet, "00200013") || "–"}${slot.frames > 1 ? `, frame ${slot.frame} of ${slot.frames}` : ""}`,
      ),
    );
    fill(
      sw,
      lines(
        window
          ? `C ${tenths(window.center)}  W ${tenths(window.width)}${inverted ? "  inverted" : ""}`
          : inverted && "inverted",
        `${Math.round(stage.scale * 100)} %`,
        text(dataSet, "00282110") === "01" ? "Lossy compression" : "",
      ),
    );
    const sides = sidesOf(slot);
    const letters = sides ? sidesShown(sides, stage) : [];
    SIDES.forEach((side, place) => {
      this.sides[side].textContent = letters[place] ?? "";
    });
  }

  /** Where the pointer is on `frame`, the image of `slot`, and what is there; `pixel` is null elsewhere. */
  point(slot, frame, pixel) {
    const location = number(slot.dataSet, "00201041");
    let value = "";
    if (pixel && frame.samples) {
      const bits = frame.samples[pixel.row * frame.width + pixel.column];
      value = short(modalityValue(frame.grey.modality, storedValue(bits, slot.shape)));
    }
    const unit = value ? String(values(slot.dataSet, "00281054")[0] ?? "") : "";
    fill(
      this.boxes.se,
      lines(
        pixel ? `${pixel.column}, ${pixel.row}${value ? ` = ${value} ${unit}` : ""}` : "",
        location === null ? "" : `at ${short(location)} mm`,
      ),
    );
  }
}

function boxes(names, kind) {
  return Object.fromEntries(names.map((name) => [name, h("div", { class: `${kind} ${name}` })]));
}

function tenths(value) {
  return short(Math.round(value * 10) / 10);
}

function lines(...told) {
  return told.filter(Boolean).map((line) => h("div", { text: line }));
}
