// The list of studies: search as you type, one page at a time, whatever the number of studies.

import { text, values } from "./attributes.js";
import { keysOf, MODALITIES, PERIODS, TEXTS } from "./criteria.js";
import { isAbort } from "./refusal.js";
import { button, fill, h, icon, message } from "./dom.js";
import { count, date, personName, time } from "./format.js";
import { thumbnail } from "./thumbnail.js";
import { chooseFiles } from "./upload.js";

const PAGE = 50;
const TYPING_MS = 250;
const COUNTED = 10000; // beyond that the server does not count matches

const COLUMNS = [
  { label: "Patient", sort: "PatientName" },
  { label: "Patient ID", sort: "PatientID" },
  { label: "Date", sort: "StudyDate" },
  { label: "Modality" },
  { label: "Description", sort: "StudyDescription" },
  { label: "Accession", sort: "AccessionNumber" },
  { label: "Series" },
  { label: "Images" },
];

let shown = "#/";

/** The address of the list as it was last seen: where leaving a study leads back to. */
export function listAddress() {
  return shown;
}

/** Show the studies that the address asks for; the function that ends it. */
export function studiesView(house, main, _, parameters) {
  document.title = "Studies · Isthmus";
  const view = new Studies(house, parameters);
  fill(main, view.element);
  view.load();
  return () => view.end();
}

class Studies {
  #house;
  #criteria;
  #asking = null;
  #timer = 0;
  #listeners = new AbortController();

  constructor(house, parameters) {
    this.#house = house;
    this.#criteria = new URLSearchParams(parameters);
    shown = this.#address;
    this.results = h("div", { class: "results" });
    this.count = h("p", { class: "count", role: "status", "aria-live": "polite" });
    this.pages = h("nav", { class: "pages", "aria-label": "Pages" });
    this.element = h(
      "section",
      { class: "studies" },
      h("h1", { class: "unseen", text: "Studies" }),
      this.#form(),
      h("div", { class: "above" }, this.count, this.pages),
      this.results,
    );
    document.addEventListener("keydown", (event) => this.#key(event), { signal: this.#listeners.signal });
  }

  end() {
    clearTimeout(this.#timer);
    this.#asking?.abort();
    this.#listeners.abort();
  }

  get #address() {
    const query = this.#criteria.toString();
    return `#/${query ? `?${query}` : ""}`;
  }

  get #offset() {
    return Math.max(Math.trunc(Number(this.#criteria.get("offset"))) || 0, 0);
  }

  /** Ask for the page; what was asked before is of no interest any more. */
  async load() {
    this.#asking?.abort();
    const asking = new AbortController();
    this.#asking = asking;
    this.results.setAttribute("aria-busy", "true");
    if (!this.results.hasChildNodes()) fill(this.results, skeleton());
    const sort = this.#criteria.get("sort");
    const keys = { ...keysOf(this.#criteria), ...(sort ? { orderby: sort } : {}) };
    try {
      const page = await this.#house.archive.search(
        "/studies",
        { ...keys, limit: PAGE, offset: this.#offset },
        asking.signal,
      );
      this.#show(page);
    } catch (error) {
      if (isAbort(error)) return;
      fill(this.count);
      fill(this.pages);
      fill(
        this.results,
        message(
          "alert",
          "The studies could not be listed",
          error.message,
          button("reset", "Try again", () => this.load()),
        ),
      );
    }
    if (this.#asking === asking) this.results.removeAttribute("aria-busy");
  }

  #show({ matches, total, more }) {
    this.#showPages(matches.length, total, more);
    if (!matches.length) {
      fill(this.results, this.#nothing());
      return;
    }
    fill(
      this.results,
      h(
        "table",
        { class: "list" },
        h(
          "thead",
          {},
          h(
            "tr",
            {},
            h("th", { class: "picture", scope: "col" }, h("span", { class: "unseen", text: "Picture" })),
            COLUMNS.map((column) => this.#heading(column)),
          ),
        ),
        h(
          "tbody",
          {},
          matches.map((study) => this.#row(study)),
        ),
      ),
    );
  }

  #heading({ label, sort }) {
    const current = this.#criteria.get("sort") ?? "";
    const descending = current === `-${sort}`;
    const sorted = sort && (descending || current === sort);
    const class_ = `col-${label.toLowerCase().replace(" ", "-")}`;
    if (!sort) return h("th", { scope: "col", class: class_, text: label });
    const next = current === sort ? `-${sort}` : descending ? "" : sort;
    return h(
      "th",
      { scope: "col", class: class_, "aria-sort": sorted ? (descending ? "descending" : "ascending") : null },
      h(
        "button",
        { type: "button", class: "sort", onclick: () => this.#change({ sort: next }) },
        label,
        h("span", { "aria-hidden": "true", text: sorted ? (descending ? " ↓" : " ↑") : "" }),
      ),
    );
  }

  #row(study) {
    const uid = text(study, "0020000D");
    const name = personName(study, "00100010");
    const href = `#/studies/${uid}`;
    const details = [date(study, "00100030"), text(study, "00100040")].filter(Boolean).join(" · ");
    const cell = (label, content, ...more) =>
      h("td", { class: `col-${label}`, "data-label": label }, content, ...more);
    return h(
      "tr",
      {
        onclick: (event) => {
          if (!event.target.closest("a")) location.hash = href;
        },
      },
      h("td", { class: "picture" }, thumbnail(this.#house.archive, { study: uid }, { size: 64 })),
      cell(
        "patient",
        h("a", { class: name ? "name" : "name missing", href, text: name || "No name" }),
        details && h("small", { text: details }),
      ),
      cell("patient-id", text(study, "00100020")),
      cell("date", date(study, "00080020"), h("small", { text: time(study, "00080030") })),
      cell(
        "modality",
        values(study, "00080061").map((one) => h("span", { class: "tag", text: one })),
      ),
      cell("description", text(study, "00081030")),
      cell("accession", text(study, "00080050")),
      cell("series", text(study, "00201206")),
      cell(
        "images",
        text(study, "00201208"),
        h("span", { class: "phone", text: text(study, "00201208") === "1" ? " image" : " images" }),
      ),
    );
  }

  #showPages(shown, total, more) {
    const first = this.#offset + 1;
    const last = this.#offset + shown;
    const whole =
      total === null
        ? more
          ? `more than ${Math.max(last, COUNTED).toLocaleString("en")} studies`
          : `${last.toLocaleString("en")} studies`
        : count(total, "study", "studies");
    fill(
      this.count,
      !shown
        ? ""
        : total !== null && shown === total
          ? whole
          : `${first.toLocaleString("en")}–${last.toLocaleString("en")} of ${whole}`,
    );
    const go = (offset) => () => this.#change({ offset }, { keep: true });
    fill(
      this.pages,
      this.#offset > 0 || more
        ? [
            button("back", "Previous page", go(Math.max(this.#offset - PAGE, 0)), {
              bare: true,
              key: "[",
              disabled: this.#offset === 0,
              class: "previous",
            }),
            button("next", "Next page", go(last), {
              bare: true,
              key: "]",
              disabled: !more,
              class: "following",
            }),
          ]
        : [],
    );
  }

  #nothing() {
    const narrowed = [...this.#criteria.keys()].some((name) => !["sort", "offset", "limit"].includes(name));
    if (narrowed || this.#offset) {
      const all = () => {
        location.hash = "#/";
      };
      return message(
        "search",
        "No study matches",
        `Names match from the beginning of each word; * stands for anything.${
          ["id", "accession", "description"].some((name) => this.#criteria.get(name))
            ? " In everything but names, upper and lower case count."
            : ""
        }`,
        button("reset", "Show all studies", all),
      );
    }
    return message(
      "stack",
      "No studies yet",
      this.#house.stores
        ? "Drop DICOM files or folders anywhere on this page, or send them by DIMSE or STOW-RS."
        : "What is stored appears here.",
      this.#house.stores &&
        button("up", "Choose files", () => chooseFiles(this.#house), { class: "primary" }),
    );
  }

  #form() {
    const field = ({ name, label, hint }) =>
      h(
        "label",
        { class: `field field-${name}` },
        h("span", { text: label }),
        h("input", {
          type: "search",
          name,
          value: this.#criteria.get(name) ?? "",
          placeholder: hint,
          autocomplete: "off",
          spellcheck: "false",
          maxlength: 64,
          enterkeyhint: "search",
        }),
      );
    const choice = (name, label, options) =>
      h(
        "label",
        { class: `field field-${name}` },
        h("span", { text: label }),
        h(
          "select",
          { name },
          options.map((one) =>
            h("option", {
              value: one.name,
              text: one.label,
              selected: one.name === (this.#criteria.get(name) ?? ""),
            }),
          ),
        ),
      );
    const day = (name, label) =>
      h(
        "label",
        { class: "field day", hidden: this.#criteria.get("period") !== "range" },
        h("span", { text: label }),
        h("input", { type: "date", name, value: this.#criteria.get(name) ?? "" }),
      );
    const [first, ...others] = TEXTS;
    const form = h(
      "form",
      { class: "search", role: "search", autocomplete: "off" },
      h("div", { class: "first" }, icon("search"), field(first)),
      h(
        "details",
        { class: "more" },
        h("summary", { text: "Filters" }),
        h(
          "div",
          { class: "others" },
          others.map(field),
          choice("modality", "Modality", [
            { name: "", label: "Any modality" },
            ...MODALITIES.map((one) => ({ name: one, label: one })),
          ]),
          choice("period", "Study date", PERIODS),
          day("from", "From"),
          day("to", "To"),
        ),
      ),
    );
    const wide = matchMedia("(min-width: 700px)");
    const details = form.querySelector("details");
    details.open =
      wide.matches ||
      [...others.map((one) => one.name), "modality", "period"].some((name) => this.#criteria.get(name));
    wide.addEventListener(
      "change",
      () => {
        details.open = wide.matches;
      },
      { signal: this.#listeners.signal },
    );
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("input", (event) => this.#typed(form, event));
    return form;
  }

  #typed(form, event) {
    const ranged = form.elements.period.value === "range";
    for (const label of form.querySelectorAll(".day")) label.hidden = !ranged;
    clearTimeout(this.#timer);
    const fields = Object.fromEntries(new FormData(form));
    if (!ranged) fields.from = fields.to = "";
    this.#timer = setTimeout(() => this.#change(fields), event.target.type === "search" ? TYPING_MS : 0);
  }

  /** Ask for something else; the address says what, and going back in the history goes back here. */
  #change(fields, { keep = false } = {}) {
    if (!keep) this.#criteria.delete("offset");
    for (const [name, value] of Object.entries(fields)) {
      if (value) this.#criteria.set(name, String(value));
      else this.#criteria.delete(name);
    }
    shown = this.#address;
    history.replaceState(null, "", shown);
    if (keep) window.scrollTo(0, 0);
    this.load();
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    const inField = event.target.closest("input, select, textarea");
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      if (inField && inField.type !== "search") return;
      const links = [...this.results.querySelectorAll("a.name")];
      const at = links.indexOf(document.activeElement);
      const next = links[at + (event.key === "ArrowDown" ? 1 : -1)];
      if (next) {
        event.preventDefault();
        next.focus();
      }
    } else if (!inField && event.key === "/") {
      event.preventDefault();
      this.element.querySelector("input[name=name]").focus();
    } else if (!inField && (event.key === "[" || event.key === "]")) {
      this.pages.querySelector(event.key === "[" ? ".previous" : ".following")?.click();
    }
  }
}

function skeleton() {
  return h(
    "div",
    { class: "skeleton", "aria-label": "Loading" },
    Array.from({ length: 8 }, () => h("div")),
  );
}
