// What is shown for instances that are no images: reports as text, documents and videos as they are.

import { isAbort } from "./dicomweb.js";
import { fill, h, icon, message } from "./dom.js";

const WORDS = { document: "A document", other: "No image" };

/** Whether an instance is shown as a picture. */
export function hasPicture({ kind }) {
  return kind === "image" || kind === "state";
}

/** What is shown for an instance that has none. */
export function instead(archive, slot, signal) {
  const { kind, study, series, instance } = slot;
  const place = archive.url({ study, series, instance }, "/rendered");
  if (kind === "video") return h("video", { src: place, controls: true, playsinline: true, class: "video" });
  if (kind === "report") return report(archive, place, signal);
  const open =
    kind === "document" &&
    h(
      "a",
      { class: "button primary", href: place, target: "_blank", rel: "noopener" },
      icon("external"),
      h("span", { text: "Open" }),
    );
  return message(
    "info",
    WORDS[kind],
    kind === "document"
      ? "It opens in a window of its own."
      : "This object has no picture. Its attributes are there (m).",
    ...(open ? [open] : []),
  );
}

function report(archive, place, signal) {
  const box = h("pre", { class: "report", tabindex: "0", text: "Loading…" });
  archive
    .get(place, "text/plain", signal)
    .then((response) => response.text())
    .then(
      (told) => {
        box.textContent = told;
      },
      (error) => {
        if (!isAbort(error)) fill(box, error.message);
      },
    );
  return box;
}
