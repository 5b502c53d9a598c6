// Small pictures, fetched when they come into sight.

import { h } from "./dom.js";

const SIZE = 160;

/** The server's thumbnail of a resource; a plain tile where it has none. */
export function thumbnail(archive, resource, { size = SIZE, alt = "" } = {}) {
  const image = h("img", {
    class: "thumbnail",
    loading: "lazy", // before the address, which some browsers fetch as soon as they have it
    decoding: "async",
    src: archive.url(resource, `/thumbnail?viewport=${size},${size}`),
    alt,
    width: size,
    height: size,
    draggable: "false",
  });
  image.addEventListener("error", () => image.classList.add("absent"), { once: true });
  return image;
}
