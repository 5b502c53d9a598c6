// What keys do.

import { dialog } from "./dialog.js";
import { h } from "./dom.js";

const KEYS = [
  [
    "Everywhere",
    [
      ["?", "This list"],
      ["Esc", "Close a dialog; in the viewer, back to the study"],
    ],
  ],
  [
    "Studies",
    [
      ["/", "Search"],
      ["↑ ↓", "Go through the list"],
      ["Enter", "Open"],
      ["[ ]", "Page back and on"],
    ],
  ],
  [
    "Viewer",
    [
      ["↑ ↓, wheel", "Previous and next image"],
      ["Page ↑ ↓", "Ten images at a time"],
      ["Home, End", "First and last image"],
      ["← →", "Previous and next series"],
      ["Space", "Play and stop"],
      ["w z p s", "Dragging windows, zooms, pans, scrolls"],
      ["Ctrl + wheel, + −", "Zoom"],
      ["1 … 9", "Window presets"],
      ["0", "The image's own window"],
      ["i", "Invert"],
      ["h v r", "Flip, turn upside down, rotate"],
      ["f, a", "Fit to the window, actual size"],
      ["m", "Attributes"],
      ["x", "Everything as it was"],
    ],
  ],
];

/** The list of keys. */
export function showHelp() {
  if (document.querySelector("dialog[open]")) return;
  dialog(
    "Keys",
    () =>
      h(
        "div",
        { class: "keys" },
        KEYS.map(([title, rows]) =>
          h(
            "section",
            {},
            h("h3", { text: title }),
            h(
              "dl",
              {},
              rows.flatMap(([key, meaning]) => [
                h("dt", {}, h("kbd", { text: key })),
                h("dd", { text: meaning }),
              ]),
            ),
          ),
        ),
      ),
    { wide: true },
  );
}
