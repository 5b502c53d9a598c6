// The page: what the address names is shown in #main, and whatever was shown before is told to end.

import { configured, houseOf } from "./configuration.js";
import { button, fill, h, message } from "./dom.js";
import { entered, leaveBehind } from "./entrance.js";
import { moment } from "./format.js";
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
  let told;
  try {
    told = await configured();
  } catch (error) {
    const again = button("reset", "Try again", start);
    fill(main, message("alert", "The server does not answer", error.message, again));
    return;
  }
  const session = await entered(told.auth, main);
  const house = houseOf(told, session);
  fill(document.getElementById("nav"), navigation(house, told.auth));
  if (session.study) main.before(shareLine(session));
  acceptDrops(house);
  window.addEventListener("hashchange", () => show(house));
  document.getElementById("skip").addEventListener("click", () => main.focus());
  document.addEventListener("keydown", (event) => {
    if (event.key === "?" && !isTyping(event)) showHelp();
  });
  show(house);
}

function navigation(house, auth) {
  const { session } = house;
  return [
    house.stores && button("up", "Upload", () => chooseFiles(house), { class: "upload" }),
    house.bridge &&
      h("a", { class: "button", href: "#/peers", title: "Peers" }, h("span", { text: "Peers" })),
    button("theme", "Light or dark", nextTheme, { bare: true }),
    button("help", "Keys and help", showHelp, { bare: true, key: "?" }),
    session.name && h("span", { class: "whoami", text: session.name, title: session.name }),
    session.end && button("leave", "Sign out", () => out(session, auth), { bare: true }),
  ];
}

/** Sign out: what is shown ends before anything of it could be asked for again. */
function out(session, auth) {
  shown?.();
  shown = null;
  window.addEventListener("hashchange", () => location.reload());
  leaveBehind(session, auth, main);
}

/** What somebody who came by a link has in their hands. */
function shareLine({ ends }) {
  const text = `Shared with you${ends ? ` until ${moment(ends)}` : ""}: one study, to look at.`;
  return h("p", { class: "shared", text });
}

function show(house) {
  const [path, query = ""] = location.hash.replace(/^#/, "").split("?");
  const own = house.session.study && `/studies/${house.session.study}`;
  if (own && path !== own && !path.startsWith(`${own}/`)) {
    location.replace(`#${own}`); // there is nothing else for who came by a link
    return;
  }
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
