// Peers: whether they answer, what they have, and fetching it from there.

import { text, values } from "./attributes.js";
import { does } from "./bridge.js";
import { isAbort } from "./refusal.js";
import { button, fill, h, icon, message } from "./dom.js";
import { count, date, isolated, personName } from "./format.js";
import { address, jobDialog } from "./sending.js";

const MOST = 100;

/** Show all peers, or what one of them has; the function that ends it. */
export function peersView(house, main, [name]) {
  const ending = new AbortController();
  document.title = "Peers · Isthmus";
  if (!house.bridge) {
    fill(main, message("network", "There is no bridge here", "ISTHMUS_BRIDGE_URL says where the bridge is."));
  } else if (name) {
    fill(main, queryPage(house, name, ending.signal));
  } else {
    listPeers(house, main, ending.signal);
  }
  return () => ending.abort();
}

async function listPeers(house, main, signal) {
  fill(main, h("p", { class: "waiting", text: "Loading…" }));
  try {
    const peers = await house.bridge.peers(signal);
    if (!peers.length) {
      fill(
        main,
        message("network", "No peers yet", "Peers are named in the file that ISTHMUS_PEERS points to."),
      );
      return;
    }
    fill(
      main,
      h(
        "section",
        { class: "peers" },
        h("h1", { text: "Peers" }),
        h(
          "ul",
          { class: "cards" },
          peers.map((peer) => card(house.bridge, peer)),
        ),
      ),
    );
  } catch (error) {
    if (isAbort(error)) return;
    fill(
      main,
      message(
        "alert",
        "The bridge does not answer",
        error.message,
        button("reset", "Try again", () => listPeers(house, main, signal)),
      ),
    );
  }
}

function card(bridge, peer) {
  const state = h("span", { class: "state", role: "status" });
  const echo = button("network", "Echo", async () => {
    echo.disabled = true;
    state.className = "state";
    state.textContent = "Asking…";
    try {
      await bridge.echo(peer.name);
      state.textContent = "It answers.";
      state.classList.add("good");
    } catch (error) {
      state.textContent = error.message;
      state.classList.add("trouble");
    }
    echo.disabled = false;
  });
  return h(
    "li",
    { class: "card peer" },
    h("div", { class: "about" }, h("strong", { text: peer.name }), h("small", { text: address(peer) })),
    h(
      "div",
      { class: "actions" },
      does(peer, "echo") && echo,
      does(peer, "find") &&
        peer.dicom_web &&
        h(
          "a",
          { class: "button", href: `#/peers/${encodeURIComponent(peer.name)}` },
          icon("search"),
          h("span", { text: "Query" }),
        ),
    ),
    state,
  );
}

function queryPage(house, name, signal) {
  const results = h("div", { class: "results" });
  const field = (key, label, type = "search") =>
    h(
      "label",
      { class: "field" },
      h("span", { text: label }),
      h("input", {
        type,
        name: key,
        placeholder: type === "search" ? label : null,
        autocomplete: "off",
        spellcheck: "false",
        maxlength: 64,
      }),
    );
  const form = h(
    "form",
    { class: "query", role: "search" },
    field("PatientName", "Patient name"),
    field("PatientID", "Patient ID"),
    field("AccessionNumber", "Accession number"),
    field("StudyDate", "Study date", "date"),
    h("button", { type: "submit", class: "button primary" }, icon("search"), h("span", { text: "Query" })),
  );
  let asking = null;
  signal.addEventListener("abort", () => asking?.abort());
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    asking?.abort(); // an answer to what was asked before must not come after this one's
    asking = new AbortController();
    ask(house, name, keysOf(new FormData(form)), results, asking.signal);
  });
  return h(
    "section",
    { class: "peers" },
    h("a", { class: "up", href: "#/peers" }, icon("back"), "Peers"),
    h("h1", { text: `What ${name} has` }),
    form,
    results,
  );
}

function keysOf(form) {
  const keys = {};
  for (const [name, value] of form) {
    const typed = value.trim();
    if (!typed) continue;
    keys[name] =
      name === "StudyDate"
        ? typed.replaceAll("-", "")
        : name === "PatientName" && !/[*?]/.test(typed)
          ? `${typed}*`
          : typed;
  }
  return keys;
}

async function ask(house, name, keys, results, signal) {
  if (!Object.keys(keys).length) {
    fill(
      results,
      h("p", {
        class: "note",
        text: "Say at least one thing that is looked for: a PACS may have millions of studies.",
      }),
    );
    return;
  }
  fill(results, h("p", { class: "waiting", text: `Asking ${name}…` }));
  try {
    const { matches, more } = await house.bridge
      .archive(name)
      .search("/studies", { ...keys, limit: MOST }, signal);
    fill(
      results,
      matches.length
        ? [
            h("p", {
              class: "count",
              text: more ? `The first ${MOST} matches` : count(matches.length, "match", "matches"),
            }),
            table(house, name, matches),
          ]
        : message("search", "Nothing matches", `${name} has no such study.`),
    );
  } catch (error) {
    if (!isAbort(error)) fill(results, message("alert", "The peer could not be asked", error.message));
  }
}

function table(house, name, matches) {
  const cell = (label, content) => h("td", { class: `col-${label}`, "data-label": label }, content);
  return h(
    "table",
    { class: "list plain" },
    h(
      "thead",
      {},
      h(
        "tr",
        {},
        ["Patient", "Patient ID", "Date", "Modality", "Description", "Images", ""].map((label) =>
          h("th", { scope: "col", text: label }),
        ),
      ),
    ),
    h(
      "tbody",
      {},
      matches.map((study) => {
        const resource = { study: text(study, "0020000D") };
        const patient = personName(study, "00100010") || "No name";
        const fetchIt = house.stores && button("down", "Retrieve", () => retrieve(house, name, resource, patient));
        return h(
          "tr",
          {},
          cell("patient", patient),
          cell("patient-id", text(study, "00100020")),
          cell("date", date(study, "00080020")),
          cell(
            "modality",
            values(study, "00080061").map((one) => h("span", { class: "tag", text: one })),
          ),
          cell("description", text(study, "00081030")),
          cell("images", text(study, "00201208")),
          cell("act", fetchIt),
        );
      }),
    ),
  );
}

async function retrieve(house, name, resource, patient) {
  const job = await jobDialog(house.bridge, "retrieve", name, [resource], `Retrieve ${isolated(patient)} from ${name}`);
  if (job?.state === "done") location.hash = `#/studies/${resource.study}`;
}
