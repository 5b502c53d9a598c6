// Elements made from values. Text becomes text nodes, never markup: names in DICOM objects are anybody's.

const SVG = "http://www.w3.org/2000/svg";

/**
 * An element. Of `props`, `class` and `text` are what they say, `on…` functions are listeners, `true` and
 * `false` set or leave out an attribute, and everything else is an attribute. Children that are null are left out.
 */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "class") element.className = value;
    else if (name === "text") element.textContent = value;
    else if (name === "value") element.value = value;
    else if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(
    ...children.flat().filter((child) => child !== null && child !== undefined && child !== false),
  );
  return element;
}

/** What stood in `parent` gives way to `children`. */
export function fill(parent, ...children) {
  parent.replaceChildren(
    ...children.flat().filter((child) => child !== null && child !== undefined && child !== false),
  );
  return parent;
}

const PATHS = {
  alert: "M12 8v5M12 16.5v.1M10.3 3.9 2.5 18a2 2 0 0 0 1.7 3h15.6a2 2 0 0 0 1.7-3L13.7 3.9a2 2 0 0 0-3.4 0z",
  back: "M15 18l-6-6 6-6",
  close: "M6 6l12 12M18 6 6 18",
  copy: "M9 9h11v11H9zM5 15H4V4h11v1",
  contrast: "M12 3a9 9 0 1 0 0 18zM12 3a9 9 0 0 1 0 18",
  down: "M12 4v12m-5-5 5 5 5-5M5 20h14",
  enter: "M14 4h5v16h-5M4 12h10M10 8l4 4-4 4",
  external: "M14 4h6v6M20 4l-9 9M18 14v5H5V6h5",
  fit: "M4 9V4h5M15 4h5v5M20 15v5h-5M9 20H4v-5",
  flip: "M12 3v18M8 7 3 17h5zM16 7l5 10h-5z",
  help: "M9.2 9a3 3 0 1 1 4.6 2.5c-1.1.7-1.8 1.3-1.8 2.5M12 17.5v.1M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18z",
  info: "M12 11v6M12 7.5v.1M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18z",
  invert: "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18zM12 7a5 5 0 0 0 0 10z",
  leave: "M10 4H5v16h5M10 12h10M16 8l4 4-4 4",
  lock: "M6 11h12v9H6zM8.5 11V8a3.5 3.5 0 0 1 7 0v3",
  move: "M12 3v18M3 12h18M9 6l3-3 3 3M9 18l3 3 3-3M6 9l-3 3 3 3M18 9l3 3-3 3",
  network: "M9 3h6v5H9zM3 16h6v5H3zM15 16h6v5h-6zM12 8v4M6 16v-4h12v4",
  next: "M9 6l6 6-6 6",
  pause: "M8 5v14M16 5v14",
  play: "M7 4.5v15l12-7.5z",
  reset: "M4 12a8 8 0 1 0 2.6-5.9M4 4v5h5",
  rotate: "M20 12a8 8 0 1 1-2.6-5.9M20 4v5h-5",
  search: "M11 18a7 7 0 1 0 0-14 7 7 0 0 0 0 14zM20 20l-4-4",
  share: "M9.5 14.5l5-5M8 11l-2.5 2.5a3.5 3.5 0 0 0 5 5L13 16M11 8l2.5-2.5a3.5 3.5 0 0 1 5 5L16 13",
  send: "M4 12l16-8-6 16-3-7z",
  stack: "M12 3l9 5-9 5-9-5zM3 12.5l9 5 9-5M3 17l9 5 9-5",
  theme: "M20 14.5A8.5 8.5 0 1 1 9.5 4a7 7 0 0 0 10.5 10.5z",
  trash: "M4 7h16M9 7V4h6v3M6 7l1 13h10l1-13",
  up: "M12 20V8m-5 5 5-5 5 5M5 4h14",
  zoom: "M11 18a7 7 0 1 0 0-14 7 7 0 0 0 0 14zM20 20l-4-4M8 11h6M11 8v6",
};

/** A line drawing of 20 by 20; what it means stands beside it, or in the label of what it is in. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  for (const [key, value] of Object.entries({ viewBox: "0 0 24 24", width: 20, height: 20, class: "icon" })) {
    svg.setAttribute(key, value);
  }
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", PATHS[name]);
  svg.append(path);
  return svg;
}

/** A button with an icon and, unless it is `bare`, its label beside it. */
export function button(name, label, onclick, { bare = false, key = "", ...props } = {}) {
  const title = key ? `${label} (${key})` : bare ? label : null;
  const kind = ["button", bare ? "bare" : "", props.class ?? ""].join(" ").trim();
  const told = bare ? { "aria-label": label } : {};
  return h(
    "button",
    { type: "button", ...told, title, ...props, class: kind, onclick },
    name && icon(name),
    bare ? null : h("span", { text: label }),
  );
}

/** An empty state, a failure or anything else that is told instead of content. */
export function message(name, title, text, ...actions) {
  return h(
    "div",
    { class: "message" },
    icon(name),
    h("h2", { text: title }),
    text && h("p", { text }),
    actions.some(Boolean) ? h("div", { class: "actions" }, actions) : null,
  );
}
