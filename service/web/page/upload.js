// Upload: files and folders dropped anywhere on the page, a few at a time, each with its own outcome.

import { dialog, notice } from "./dialog.js";
import { isAbort } from "./refusal.js";
import { button, fill, h } from "./dom.js";
import { bytes, count } from "./format.js";

const AT_ONCE = 3;
const MOST_LISTED = 500;
const LOOKING_MS = 500;
const UNREADABLE = "It cannot be read here: it was moved, changed, or is not yours to read.";

/** Take files that are dropped on the page, or say that they are not. */
export function acceptDrops(house) {
  let depth = 0;
  const over = (into) => document.documentElement.classList.toggle("dropping", into);
  const withFiles = (event) => event.dataTransfer?.types.includes("Files");
  document.addEventListener("dragenter", (event) => {
    if (withFiles(event)) over((depth += 1) > 0);
  });
  document.addEventListener("dragleave", (event) => {
    if (withFiles(event)) over((depth = Math.max(depth - 1, 0)) > 0);
  });
  document.addEventListener("dragover", (event) => {
    if (withFiles(event)) event.preventDefault();
  });
  document.addEventListener("drop", async (event) => {
    if (!withFiles(event)) return;
    event.preventDefault();
    over((depth = 0) > 0);
    let line = null;
    const timer = setTimeout(() => {
      line = notice("Looking through the folders…", { stays: true });
    }, LOOKING_MS);
    const files = await dropped(event.dataTransfer);
    clearTimeout(timer);
    line?.remove();
    upload(house, files);
  });
}

/** Let somebody choose files. */
export function chooseFiles(house) {
  const input = h("input", { type: "file", multiple: true, class: "unseen", "aria-label": "DICOM files" });
  input.addEventListener("change", () => {
    upload(house, [...input.files]);
    input.remove();
  });
  input.addEventListener("cancel", () => input.remove());
  document.body.append(input);
  input.click();
}

/** Store `files` and show how that goes; the page is shown again afterwards. */
export async function upload(house, files) {
  if (!files.length) {
    notice("There are no files in it.");
    return;
  }
  if (!house.stores) {
    notice("Nothing was stored: you may look here, not store.", { trouble: true });
    return;
  }
  if (document.querySelector("dialog[open]")) {
    notice("Nothing was stored: close the dialog first.", { trouble: true });
    return;
  }
  const stopping = new AbortController();
  const leaving = new AbortController();
  window.addEventListener("beforeunload", (event) => event.preventDefault(), { signal: leaving.signal });
  const progress = new Progress(files);
  const working = work(house.archive, files, progress, stopping.signal).finally(() => leaving.abort());
  await dialog(
    "Upload",
    (close) =>
      progress.build(
        () => {
          stopping.abort();
          close();
        },
        () => close(),
      ),
    { wide: true, stays: true },
  );
  stopping.abort();
  await working;
  if (progress.stored) window.dispatchEvent(new HashChangeEvent("hashchange"));
}

async function work(archive, files, progress, signal) {
  const waiting = files.values();
  const one = async () => {
    for (const file of waiting) {
      if (signal.aborted) return;
      try {
        progress.tell(file, await outcome(archive, file, signal));
      } catch (error) {
        if (isAbort(error)) return;
        progress.tell(file, [error.message]);
      }
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, one));
  progress.end(signal.aborted);
}

/** Why a file was not stored, as sentences; none if it was. */
async function outcome(archive, file, signal) {
  if (file.trouble) return [file.trouble];
  try {
    return await archive.store(file, signal);
  } catch (error) {
    // Of a file that cannot be read, the browser says no more than that nothing was sent.
    if (error.status === 0 && !(await isReadable(file))) return [UNREADABLE];
    throw error;
  }
}

async function isReadable(file) {
  try {
    await file.slice(0, 1).arrayBuffer();
    return true;
  } catch {
    return false;
  }
}

/** How far the upload is, and what was refused. */
class Progress {
  stored = 0;
  refused = 0;
  #sent = 0;

  constructor(files) {
    this.files = files;
    this.size = files.reduce((sum, file) => sum + file.size, 0);
    this.bar = h("progress", { max: Math.max(this.size, 1), value: 0, "aria-label": "Progress" });
    this.line = h("p", {
      class: "line",
      role: "status",
      text: `Sending ${count(files.length, "file")}, ${bytes(this.size)}…`,
    });
    this.list = h("ul", { class: "refusals" });
    this.foot = h("footer");
  }

  build(stop, close) {
    this.close = close;
    fill(this.foot, button("close", "Stop", stop));
    return [this.bar, this.line, this.list, this.foot];
  }

  /** Note what became of a file. */
  tell(file, reasons) {
    this.#sent += file.size;
    this.bar.value = this.#sent;
    if (reasons.length) {
      this.refused += 1;
      if (this.refused <= MOST_LISTED) {
        this.list.append(
          h(
            "li",
            {},
            h("strong", { text: file.webkitRelativePath || file.name }),
            h("span", { text: reasons.join(" ") }),
          ),
        );
      }
    } else {
      this.stored += 1;
    }
    this.line.textContent = `${this.stored + this.refused} of ${count(this.files.length, "file")}${this.refused ? `, ${this.refused} refused` : ""}`;
  }

  end(stopped) {
    this.bar.value = this.bar.max;
    this.line.textContent = [
      stopped ? "Stopped." : "",
      `${count(this.stored, "file")} stored.`,
      this.refused ? `${count(this.refused, "file")} refused.` : "",
    ]
      .filter(Boolean)
      .join(" ");
    if (this.refused > MOST_LISTED)
      this.list.append(h("li", { text: `… and ${this.refused - MOST_LISTED} more.` }));
    const done = button(null, "Done", () => this.close(), { class: "primary" });
    fill(this.foot, done);
    done.focus();
  }
}

/** The files of a drop, those inside of folders too; what cannot be read is among them, with its `trouble`. */
async function dropped(transfer) {
  const entries = [...transfer.items].map((one) => one.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return [...transfer.files];
  const files = [];
  for (const entry of entries) await gather(entry, files);
  return files;
}

async function gather(entry, files) {
  try {
    if (entry.isFile) {
      files.push(await new Promise((resolve, reject) => entry.file(resolve, reject)));
      return;
    }
    const reader = entry.createReader();
    for (;;) {
      const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
      if (!some.length) return;
      for (const one of some) await gather(one, files);
    }
  } catch {
    files.push({ name: entry.fullPath, size: 0, trouble: UNREADABLE });
  }
}
