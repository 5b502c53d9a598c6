// Saving what the archive has as a file. A link does it; where there is none for somebody who has signed in
// with a token, it comes through here: into memory, or into a file that is chosen if it is large.

import { dialog, notice } from "./dialog.js";
import { button, h, icon } from "./dom.js";
import { bytes } from "./format.js";
import { linked } from "./links.js";
import { isAbort, Refusal } from "./refusal.js";

const LARGE_BYTES = 256e6; // what a browser is asked to hold without a question
const LEFT_MS = 60000; // in which a browser has begun to save what it was handed

/**
 * A link, or a button that is one, which saves a resource in a media type as a file of this name; `props` are
 * of the element.
 */
export function saving(archive, resource, type, name, props, ...children) {
  const address = `${archive.url(resource)}?accept=${encodeURIComponent(type)}`;
  if (!archive.session.bearer) return h("a", { ...props, href: address, download: name }, ...children);
  const act = async () => {
    element.disabled = true;
    await save(archive, resource.study, address, name);
    element.disabled = false;
  };
  const element = h("button", { type: "button", ...props, onclick: act }, ...children);
  return element;
}

/** Save what lies at `address`, which is of a study, and tell what goes wrong. */
export async function save(archive, study, address, name) {
  try {
    const link = await linked(archive, study, address);
    if (link) follow(link, name);
    else await bring(archive, address, name);
  } catch (error) {
    if (!isAbort(error)) notice(`${name} was not saved: ${error.message}`, { trouble: true });
  }
}

async function bring(archive, address, name) {
  const asked = new AbortController();
  const response = await archive.fetch(address, { signal: asked.signal });
  const size = sizeOf(response);
  if (size <= LARGE_BYTES) {
    handOver(await whole(response, name, asked), name);
    return;
  }
  asked.abort(); // nobody reads it while somebody thinks
  const target = await chosen(name, size);
  if (!target) return;
  const again = new AbortController();
  const large = await archive.fetch(address, { signal: again.signal });
  if (target.file) await written(large, name, await target.file.createWritable(), again);
  else handOver(await whole(large, name, again), name);
}

/** Where a large file goes: to `file` (null: through memory); nothing if somebody thinks better of it. */
function chosen(name, size) {
  const picks = typeof window.showSaveFilePicker === "function";
  const text = picks
    ? "It is written to the file that you choose while it comes."
    : "This browser holds all of it before it saves it, which takes twice the room on this device.";
  return dialog(`Save ${bytes(size)}`, (close) => {
    const line = h("p", { class: "line", role: "status" });
    const go = async () => {
      try {
        close({ file: picks ? await window.showSaveFilePicker({ suggestedName: name }) : null });
      } catch (error) {
        if (!isAbort(error)) line.textContent = error.message;
      }
    };
    const save = button("down", picks ? "Choose the file…" : "Save", go, { class: "primary" });
    return [h("p", { text }), line, h("footer", {}, button(null, "Cancel", () => close()), save)];
  });
}

/** All of a response. */
async function whole(response, name, ending) {
  const type = response.headers.get("Content-Type") ?? "application/octet-stream";
  return watched(response, name, ending, (body) => new Response(body, { headers: { "Content-Type": type } }).blob());
}

/** A response, written to a file as it comes; what breaks off leaves the file as it was. */
async function written(response, name, file, ending) {
  await watched(response, name, ending, (body) => body.pipeTo(file));
}

/** What `take` makes of the body of a response, while a line says how far it is. */
async function watched(response, name, ending, take) {
  const size = sizeOf(response);
  const bar = h("progress", { max: size || 1, "aria-label": `Saving ${name}` });
  const told = h("span", { text: "Saving…" });
  const line = h("div", { class: "notice" }, icon("down"), h("div", { class: "saved" }, told, bar));
  line.append(button("close", "Stop", () => ending.abort(), { bare: true }));
  document.getElementById("notices").append(line);
  let came = 0;
  const counting = new TransformStream({
    transform(block, controller) {
      came += block.byteLength;
      if (size) bar.value = came;
      told.textContent = size ? `${bytes(came)} of ${bytes(size)}` : bytes(came);
      controller.enqueue(block);
    },
  });
  try {
    return await take(response.body.pipeThrough(counting));
  } catch (error) {
    throw isAbort(error) ? error : new Refusal(0, "It broke off. Check the connection and the room on this device.");
  } finally {
    line.remove();
  }
}

function sizeOf(response) {
  return Number(response.headers.get("Content-Length")) || 0;
}

/** Have the browser save what is here. */
function handOver(blob, name) {
  const place = URL.createObjectURL(blob);
  follow(place, name);
  setTimeout(() => URL.revokeObjectURL(place), LEFT_MS);
}

function follow(address, name) {
  const link = h("a", { href: address, download: name });
  document.body.append(link);
  link.click();
  link.remove();
}
