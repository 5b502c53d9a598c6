// Small pictures, fetched when they come into sight.

import { h } from "./dom.js";
import { isAbort } from "./refusal.js";

const SIZE = 160;
const NEAR = "200px";
const AT_ONCE = 6;

/** The server's thumbnail of a resource; a plain tile where it has none. */
export function thumbnail(archive, resource, { size = SIZE, alt = "" } = {}) {
  const address = archive.url(resource, `/thumbnail?viewport=${size},${size}`);
  const { bearer } = archive.session;
  const image = h("img", {
    class: "thumbnail",
    loading: bearer ? null : "lazy", // before the address, which some browsers fetch as soon as they have it
    decoding: "async",
    src: bearer ? null : address,
    alt,
    width: size,
    height: size,
    draggable: "false",
  });
  image.addEventListener("error", () => image.classList.add("absent"), { once: true });
  if (bearer) sight(image, () => show(archive, address, image));
  return image;
}

// A picture's own request has no header. What is fetched for it lies in the browser's cache as any other
// answer does, and in memory only until it is decoded.
async function show(archive, address, image) {
  try {
    const response = await archive.get(address, "image/*");
    const place = URL.createObjectURL(await response.blob());
    const done = () => URL.revokeObjectURL(place);
    image.addEventListener("load", done, { once: true });
    image.addEventListener("error", done, { once: true });
    image.src = place;
  } catch (error) {
    if (!isAbort(error)) image.classList.add("absent");
  }
}

const wanted = [];
const seen = new WeakMap();
let under = 0;
let observer = null;

/** Have `act` done once an image is near the part of the page that is in sight, a few at a time. */
function sight(image, act) {
  observer ??= new IntersectionObserver(
    (entries) => {
      for (const { isIntersecting, target } of entries) {
        if (!isIntersecting) continue;
        observer.unobserve(target);
        wanted.push([target, seen.get(target)]);
      }
      pump();
    },
    { rootMargin: NEAR },
  );
  seen.set(image, act);
  observer.observe(image);
}

function pump() {
  while (under < AT_ONCE && wanted.length) {
    const [image, act] = wanted.shift();
    if (!image.isConnected) continue; // the view that it was of has gone
    under += 1;
    act().finally(() => {
      under -= 1;
      pump();
    });
  }
}
