// The page: what the address names is shown in #main, and whatever was shown before is told to end.

import { configured } from "./configuration.js";
import { button, fill, h, message } from "./dom.js";
import { showHelp } from "./help.js";
import { peersView } from "./peers.js";
import { studiesView } from "./studies.js";
import { studyView } from "./study.js";
import { nextTheme, useTheme } from "./theme.js";
import { acceptDrops, chooseFiles } from "./upload.js";
import { viewerView } from "./viewer.js";

// Address behind the #, and the view of it: a function of the house, what matched, and the parameters.
const ROUTES = [
  [/^\/?$/, studiesView],
  [/^\/studies\/([0-9.]+)$/, studyView],
  [/^\/studies\/([0-9.]+)\/series\/([0-9.]+)(?:\/instances\/([0-9.]+))?$/, viewerView],
  [/^\/peers(?:\/([^/]+))?$/, peersView],
];

const main = document.getElementById("main");
let shown = null;

async function start() {
  useTheme();
  let house;
  try {
    house = await configured();
  } catch (error) {
    const again = button("reset", "Try again", start);
    fill(main, message("alert", "The server does not answer", error.message, again));
    return;
  }
  fill(document.getElementById("nav"), navigation(house));
  acceptDrops(house);
  window.addEventListener("hashchange", () => show(house));
  document.getElementById("skip").addEventListener("click", () => main.focus());
  document.addEventListener("keydown", (event) => {
    if (event.key === "?" && !isTyping(event)) showHelp();
  });
  show(house);
}

function navigation(house) {
  return [
    button("up", "Upload", () => chooseFiles(house), { class: "upload" }),
    house.bridge &&
      h("a", { class: "button", href: "#/peers", title: "Peers" }, h("span", { text: "Peers" })),
    button("theme", "Light or dark", nextTheme, { bare: true }),
    button("help", "Keys and help", showHelp, { bare: true, key: "?" }),
  ];
}

function show(house) {
  const [path, query = ""] = location.hash.replace(/^#/, "").split("?");
  shown?.();
  for (const [pattern, view] of ROUTES) {
    const match = pattern.exec(path);
    if (match) {
      shown = view(house, main, match.slice(1).map(decoded), new URLSearchParams(query)) ?? null;
      return;
    }
  }
  shown = null;
  document.title = "Isthmus";
  const home = h("a", { class: "button", href: "#/", text: "All studies" });
  fill(main, message("alert", "There is nothing at this address", "The link may be old or cut off.", home));
}

function decoded(part) {
  try {
    return part === undefined ? undefined : decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** Whether a key belongs to a field. */
function isTyping(event) {
  return (
    event.target instanceof HTMLElement && event.target.closest("input, select, textarea, dialog") !== null
  );
}

start();
