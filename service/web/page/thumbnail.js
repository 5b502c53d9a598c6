// Small pictures, fetched when they come into sight.

import { h } from "./dom.js";

const SIZE = 160;

/** The server's thumbnail of a resource; a plain tile where it has none. */
export function thumbnail(archive, resource, { size = SIZE, alt = "" } = {}) {
  const image = h("img", {
    class: "thumbnail",
    src: archive.url(resource, `/thumbnail?viewport=${size},${size}`),
    alt,
    width: size,
    height: size,
    loading: "lazy",
    decoding: "async",
    draggable: "false",
  });
  image.addEventListener("error", () => image.classList.add("absent"), { once: true });
  return image;
}
