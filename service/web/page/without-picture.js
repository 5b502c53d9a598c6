// What is shown for instances that are no images: reports as text, documents and videos as they are.

import { text } from "./attributes.js";
import { button, fill, h, icon, message } from "./dom.js";
import { linked } from "./links.js";
import { isAbort } from "./refusal.js";
import { save } from "./saving.js";

const WORDS = { document: "A document", other: "No image" };

/** Whether an instance is shown as a picture. */
export function hasPicture({ kind }) {
  return kind === "image" || kind === "state";
}

/** What is shown for an instance that has none. */
export function instead(archive, slot, signal) {
  const { kind, study, series, instance } = slot;
  const place = archive.url({ study, series, instance }, "/rendered");
  if (kind === "video") return video(archive, study, place, signal);
  if (kind === "report") return report(archive, place, signal);
  const open = kind === "document" && opening(archive, slot, place);
  return message(
    "info",
    WORDS[kind],
    kind === "document"
      ? "It opens in a window of its own, or is saved as a file."
      : "This object has no picture. Its attributes are there (m).",
    ...(open ? [open] : []),
  );
}

/** What opens a document, or saves it where a window of its own could not ask for it. */
function opening(archive, { study, instance, dataSet }, place) {
  if (!archive.session.bearer)
    return h(
      "a",
      { class: "button primary", href: place, target: "_blank", rel: "noopener" },
      icon("external"),
      h("span", { text: "Open" }),
    );
  const name = instance + (text(dataSet, "00420012") === "application/pdf" ? ".pdf" : "");
  const open = async () => {
    const link = await linked(archive, study, place).catch(() => null);
    if (link) window.open(link, "_blank", "noopener");
    else await save(archive, study, place, name);
  };
  return button("external", "Open", open, { class: "primary" });
}

/** A video. Its own requests are of parts of it; without a link for them, all of it comes first. */
function video(archive, study, place, signal) {
  const element = h("video", { controls: true, playsinline: true, class: "video" });
  const show = (address) => {
    if (!signal.aborted) element.src = address;
  };
  const fetched = async () => {
    const response = await archive.get(place, "video/*", signal);
    const kept = URL.createObjectURL(await response.blob());
    signal.addEventListener("abort", () => URL.revokeObjectURL(kept), { once: true });
    return kept;
  };
  linked(archive, study, place)
    .then((link) => link ?? fetched())
    .then(show, (error) => {
      if (!isAbort(error)) element.replaceWith(message("alert", "The video could not be shown", error.message));
    });
  return element;
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
