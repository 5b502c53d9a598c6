// All attributes of an instance, nested as they are, with a search.

import { isAbort } from "./refusal.js";
import { button, fill, h } from "./dom.js";

const MOST_ROWS = 3000;
const LONGEST = 400;

let names = null;

/** A panel beside the image; `show(resource)` fills it. */
export class AttributePanel {
  #archive;
  #rows = [];
  #asking = null;
  #shown = "";

  constructor(archive, close) {
    this.#archive = archive;
    this.search = h("input", {
      type: "search",
      placeholder: "Name, tag or value",
      "aria-label": "Search attributes",
      autocomplete: "off",
      spellcheck: "false",
    });
    this.search.addEventListener("input", () => this.#list());
    this.body = h("div", { class: "attributes", tabindex: "0" });
    this.element = h(
      "aside",
      { class: "panel", "aria-label": "Attributes", hidden: true },
      h("header", {}, this.search, button("close", "Close attributes", close, { bare: true, key: "m" })),
      this.body,
    );
  }

  get open() {
    return !this.element.hidden;
  }

  set open(open) {
    this.element.hidden = !open;
    if (!open) this.#asking?.abort();
  }

  /** Show the attributes of an instance. */
  async show({ study, series, instance }) {
    if (this.#shown === instance) return;
    this.#shown = instance;
    this.#asking?.abort();
    const asking = (this.#asking = new AbortController());
    this.body.setAttribute("aria-busy", "true"); // what stands there is another's
    try {
      const [found, dictionary] = await Promise.all([
        this.#archive.metadata({ study, series, instance }, [], asking.signal),
        dictionaryOf(),
      ]);
      if (this.#asking !== asking) return;
      this.#rows = flattened(found[0] ?? {}, dictionary);
      this.body.removeAttribute("aria-busy");
      this.#list();
    } catch (error) {
      if (this.#asking !== asking) return;
      this.#shown = "";
      if (isAbort(error)) return;
      this.#rows = [];
      this.body.removeAttribute("aria-busy");
      fill(this.body, h("p", { class: "trouble", text: error.message }));
    }
  }

  #list() {
    const words = this.search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const matching = this.#rows.filter((row) => words.every((word) => row.searched.includes(word)));
    fill(
      this.body,
      h(
        "table",
        {},
        h(
          "tbody",
          {},
          matching
            .slice(0, MOST_ROWS)
            .map((row) =>
              h(
                "tr",
                { class: `depth-${Math.min(row.depth, 5)}` },
                h("td", { class: "tag-cell" }, h("code", { text: row.tag }), h("small", { text: row.vr })),
                h(
                  "td",
                  {},
                  h("span", { class: "keyword", text: row.name }),
                  h("span", { class: "value", text: row.value }),
                ),
              ),
            ),
        ),
      ),
      matching.length > MOST_ROWS &&
        h("p", { class: "note", text: `${matching.length - MOST_ROWS} more; search to narrow them down.` }),
      !matching.length && h("p", { class: "note", text: "No attribute matches." }),
    );
  }
}

async function dictionaryOf() {
  names ??= fetch("page/dictionary.json").then(
    (response) => (response.ok ? response.json() : {}),
    () => ({}),
  );
  return names;
}

/** A row for each element; items of sequences follow theirs, one step in. */
function flattened(dataSet, dictionary, depth = 0, rows = []) {
  for (const tag of Object.keys(dataSet).sort()) {
    const element = dataSet[tag] ?? {};
    const name = nameOf(tag, dictionary);
    const value = shown(element);
    const told = `(${tag.slice(0, 4)},${tag.slice(4)})`;
    rows.push({
      tag: told,
      vr: element.vr ?? "",
      name,
      value,
      depth,
      searched: `${told} ${tag} ${name} ${name.replaceAll(/[ ']/g, "")} ${value}`.toLowerCase(),
    });
    if (element.vr !== "SQ") continue;
    (element.Value ?? []).forEach((one, index) => {
      rows.push({
        tag: "",
        vr: "",
        name: `Item ${index + 1}`,
        value: "",
        depth: depth + 1,
        searched: `item ${name}`.toLowerCase(),
      });
      if (one) flattened(one, dictionary, depth + 2, rows);
    });
  }
  return rows;
}

function nameOf(tag, dictionary) {
  if (Number.parseInt(tag.slice(3, 4), 16) % 2) return "Private";
  return dictionary[tag] ?? dictionary[`${tag.slice(0, 2)}xx${tag.slice(4)}`] ?? "Unknown";
}

function shown(element) {
  if (element.BulkDataURI) return "(bulk data)";
  if (element.InlineBinary) return `(binary, ${Math.floor((element.InlineBinary.length * 3) / 4)} bytes)`;
  if (element.vr === "SQ") return element.Value?.length ? "" : "(no items)";
  const told = (element.Value ?? [])
    .map((one) => (one !== null && typeof one === "object" ? Object.values(one).join(" = ") : (one ?? "")))
    .join(" \\ ");
  return told.length > LONGEST ? `${told.slice(0, LONGEST)}…` : told;
}
