// One study: who and when, its series with pictures, and what can be done with it.

import { number, text } from "./attributes.js";
import { confirmed, notice } from "./dialog.js";
import { isAbort } from "./refusal.js";
import { button, fill, h, icon, message } from "./dom.js";
import { count, date, isolated, personName, time } from "./format.js";
import { saving } from "./saving.js";
import { sendDialog } from "./sending.js";
import { shareDialog } from "./sharing.js";
import { listAddress } from "./studies.js";
import { thumbnail } from "./thumbnail.js";

const SERIES = { limit: 120, includefield: "BodyPartExamined" };
const INSTANCES = { limit: 60 };

/** Show a study; the function that ends it. */
export function studyView(house, main, [study]) {
  const view = new Study(house, main, study);
  view.load();
  return () => view.end();
}

class Study {
  #house;
  #main;
  #uid;
  #whose = "";
  #ending = new AbortController();

  constructor(house, main, uid) {
    this.#house = house;
    this.#main = main;
    this.#uid = uid;
    document.title = "Study · Isthmus";
    fill(main, h("p", { class: "waiting", text: "Loading…" }));
  }

  end() {
    this.#ending.abort();
  }

  async load() {
    try {
      const [found, below] = await Promise.all([
        this.#page("/studies", this.#itself),
        this.#page(`/studies/${this.#uid}/series`, SERIES),
      ]);
      if (found.matches.length) this.#show(found.matches[0], below);
      else this.#tell("search", "There is no such study", "It may have been deleted, or never came here.");
    } catch (error) {
      if (!isAbort(error))
        this.#tell(
          "alert",
          "The study could not be read",
          error.message,
          button("reset", "Try again", () => this.load()),
        );
    }
  }

  #tell(picture, title, told, ...actions) {
    fill(
      this.#main,
      message(
        picture,
        title,
        told,
        ...actions,
        !this.#house.session.study && h("a", { class: "button", href: "#/", text: "All studies" }),
      ),
    );
  }

  #show(study, below) {
    const name = personName(study, "00100010") || "No name";
    document.title = `${name} · Isthmus`;
    this.#whose = [name, text(study, "00100020")].filter(Boolean).map(isolated).join(" · ");
    const list = h("ol", { class: "series" });
    this.#append(list, below, `/studies/${this.#uid}/series`, SERIES, (series) => this.#series(series));
    fill(
      this.#main,
      h(
        "section",
        { class: "study" },
        !this.#house.session.study &&
          h("a", { class: "up", href: listAddress() }, icon("back"), "Studies"),
        h("div", { class: "who" }, h("h1", { text: name }), this.#facts(study)),
        this.#actions(study),
        list,
      ),
    );
  }

  #facts(study) {
    const facts = [
      ["Patient ID", text(study, "00100020")],
      ["Born", date(study, "00100030")],
      ["Sex", text(study, "00100040")],
      ["Date", [date(study, "00080020"), time(study, "00080030")].filter(Boolean).join(" ")],
      ["Description", text(study, "00081030")],
      ["Accession", text(study, "00080050")],
      ["Referring", personName(study, "00080090")],
      ["Institution", text(study, "00080080")],
      [
        "Size",
        `${count(number(study, "00201206") ?? 0, "series", "series")}, ${count(number(study, "00201208") ?? 0, "image")}`,
      ],
    ];
    return h(
      "dl",
      { class: "facts" },
      facts
        .filter(([, value]) => value)
        .map(([label, value]) => h("div", {}, h("dt", { text: label }), h("dd", { text: value }))),
    );
  }

  #actions(study) {
    const resource = { study: this.#uid };
    return h(
      "div",
      { class: "actions" },
      download(this.#house.archive, resource, "Download ZIP"),
      this.#house.bridge &&
        button("send", "Send…", () =>
          sendDialog(this.#house.bridge, resource, personName(study, "00100010") || "study"),
        ),
      this.#house.ohif &&
        h(
          "a",
          { class: "button", href: ohif(this.#house.ohif, this.#uid), target: "_blank", rel: "noopener" },
          icon("external"),
          h("span", { text: "Open in OHIF" }),
        ),
      this.#house.shares &&
        button("share", "Share…", () =>
          shareDialog(this.#house.archive, this.#uid, [this.#whose, titleOf(study)]),
        ),
      this.#house.deletes &&
        button("trash", "Delete…", () => this.#delete(resource, titleOf(study), text(study, "00201208")), {
          class: "danger",
        }),
    );
  }

  #series(series) {
    const uid = text(series, "0020000E");
    const resource = { study: this.#uid, series: uid };
    const title = text(series, "0008103E") || "No description";
    const href = `#/studies/${this.#uid}/series/${uid}`;
    const size = number(series, "00201209") ?? 0;
    const instances = h("div", { class: "instances", hidden: true });
    const toggle = button("stack", "Images", () => this.#toggle(resource, instances, toggle), {
      "aria-expanded": "false",
    });
    return h(
      "li",
      { class: "card" },
      h(
        "a",
        { class: "open", href },
        thumbnail(this.#house.archive, resource),
        h(
          "span",
          { class: "about" },
          h("span", { class: "tag", text: text(series, "00080060") || "?" }),
          h("strong", { text: title }),
          h("small", {
            text: [`No. ${text(series, "00200011") || "–"}`, count(size, "image"), text(series, "00180015")]
              .filter(Boolean)
              .join(" · "),
          }),
        ),
      ),
      h(
        "div",
        { class: "actions" },
        toggle,
        download(this.#house.archive, resource, "ZIP"),
        this.#house.bridge &&
          button("send", "Send…", () => sendDialog(this.#house.bridge, resource, title), { bare: true }),
        this.#house.deletes &&
          button("trash", "Delete series…", () => this.#delete(resource, title, size), {
            bare: true,
            class: "danger",
          }),
      ),
      instances,
    );
  }

  async #toggle(resource, box, toggle) {
    box.hidden = !box.hidden;
    toggle.setAttribute("aria-expanded", String(!box.hidden));
    if (box.hidden || box.hasChildNodes()) return;
    const path = `/studies/${resource.study}/series/${resource.series}/instances`;
    const make = (instance) => this.#instance(resource, instance);
    try {
      this.#append(box, await this.#page(path, INSTANCES), path, INSTANCES, make);
    } catch (error) {
      if (!isAbort(error)) notice(error.message, { trouble: true });
    }
  }

  #page(path, parameters, offset = 0) {
    return this.#house.archive.search(path, { ...parameters, offset }, this.#ending.signal);
  }

  /** Add a page of what was found to `box`, and a button for the next one where there is more. */
  #append(box, { matches, more }, path, parameters, make, offset = 0) {
    box.append(...matches.map(make));
    if (!more) return;
    const following = offset + matches.length;
    const next = button("down", "More", async () => {
      next.disabled = true;
      try {
        const page = await this.#page(path, parameters, following);
        line.remove();
        this.#append(box, page, path, parameters, make, following);
      } catch (error) {
        next.disabled = false;
        if (!isAbort(error)) notice(error.message, { trouble: true });
      }
    });
    const line = h(box.localName === "ol" ? "li" : "div", { class: "following" }, next);
    box.append(line);
  }

  #instance(resource, instance) {
    const uid = text(instance, "00080018");
    const frames = number(instance, "00280008") ?? 1;
    const label = `Image ${text(instance, "00200013") || "–"}${frames > 1 ? `, ${frames} frames` : ""}`;
    const below = { ...resource, instance: uid };
    return h(
      "figure",
      {},
      h(
        "a",
        {
          href: `#/studies/${resource.study}/series/${resource.series}/instances/${uid}`,
          "aria-label": label,
        },
        thumbnail(this.#house.archive, below, { size: 96 }),
      ),
      h(
        "figcaption",
        {},
        h("span", { text: label }),
        saving(
          this.#house.archive,
          below,
          "application/dicom; transfer-syntax=*",
          `${uid}.dcm`,
          { class: "button bare", title: "Download DICOM", "aria-label": `Download ${label} as DICOM` },
          icon("down"),
        ),
        this.#house.deletes &&
          button("trash", `Delete ${label}…`, () => this.#delete(below, label, 1), {
            bare: true,
            class: "danger",
          }),
      ),
    );
  }

  async #delete(resource, title, size) {
    const what = resource.instance ? "image" : resource.series ? "series" : "study";
    const told = `${count(size, "image")} will be deleted from the archive. This cannot be undone.`;
    if (!(await confirmed(`Delete this ${what}?`, [this.#whose, title], told, "Delete"))) return;
    try {
      await this.#house.archive.remove(resource);
      notice(`The ${what} is deleted.`);
    } catch (error) {
      notice(`The ${what} was not deleted: ${error.message}`, { trouble: true });
      return;
    }
    if (!this.#ending.signal.aborted) await this.#afterwards(what);
  }

  /** Show what is left; of a study of which nothing is left, the list. */
  async #afterwards(what) {
    try {
      const { matches } = what === "study" ? { matches: [] } : await this.#page("/studies", this.#itself);
      if (matches.length) await this.load();
      else location.hash = listAddress();
    } catch (error) {
      if (!isAbort(error)) notice(error.message, { trouble: true });
    }
  }

  get #itself() {
    return { StudyInstanceUID: this.#uid, includefield: "InstitutionName" };
  }
}

/** When a study was made, and what of. */
function titleOf(study) {
  return [date(study, "00080020"), text(study, "00081030")].filter(Boolean).map(isolated).join(" · ");
}

function download(archive, resource, label) {
  const name = `${resource.series ?? resource.study}.zip`;
  return saving(
    archive,
    resource,
    "application/zip",
    name,
    { class: "button" },
    icon("down"),
    h("span", { text: label }),
  );
}

function ohif(address, study) {
  return `${address}/viewer?StudyInstanceUIDs=${encodeURIComponent(study)}`;
}
