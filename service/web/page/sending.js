// Sending to a peer and fetching from one: a job of the bridge, and how far it is.

import { does } from "./bridge.js";
import { dialog } from "./dialog.js";
import { isAbort } from "./refusal.js";
import { button, fill, h } from "./dom.js";
import { count, isolated } from "./format.js";

/** Ask which peer `resource` is to be sent to, send it, and show how that goes. */
export async function sendDialog(bridge, resource, title) {
  const box = h("div", { class: "choices" }, h("p", { class: "waiting", text: "Loading…" }));
  const chosen = dialog(`Send ${isolated(title)}`, (close) => {
    choosePeer(bridge, box, close);
    return box;
  });
  const name = await chosen;
  if (name) await jobDialog(bridge, "store", name, [resource], `Send to ${name}`);
}

async function choosePeer(bridge, box, close) {
  try {
    const peers = (await bridge.peers()).filter((peer) => does(peer, "store"));
    fill(
      box,
      peers.length
        ? peers.map((peer) =>
            h(
              "button",
              { type: "button", class: "choice", onclick: () => close(peer.name) },
              h("strong", { text: peer.name }),
              h("small", { text: address(peer) }),
            ),
          )
        : h("p", {
            text: "No peer takes objects. Peers are named in the file that ISTHMUS_PEERS points to.",
          }),
    );
  } catch (error) {
    fill(box, h("p", { class: "trouble", text: `The bridge: ${error.message}` }));
  }
}

/** Begin a job and show it until it is over or the dialog is closed, which leaves it running. */
export async function jobDialog(bridge, verb, name, resources, title) {
  const ending = new AbortController();
  const bar = h("progress", { "aria-label": "Progress" });
  const line = h("p", { class: "line", role: "status", text: "Starting…" });
  const list = h("ul", { class: "refusals" });
  const foot = h("footer");
  let last = null;
  await dialog(
    title,
    (close) => {
      const done = button(null, "Close", () => close(), { class: "primary" });
      run().catch((error) => {
        if (isAbort(error)) return;
        line.textContent = error.message;
        line.classList.add("trouble");
        fill(foot, done);
      });
      async function run() {
        const id = await bridge.begin(verb, name, resources);
        fill(
          foot,
          button("close", "Cancel the job", () =>
            bridge.cancel(id).catch((error) => {
              line.textContent = error.message;
            }),
          ),
          done,
        );
        last = await bridge.follow(id, (job) => show(job, bar, line), ending.signal);
        list.append(
          ...(last.failures ?? []).map((one) =>
            h(
              "li",
              {},
              h("strong", { text: one.instance ?? one.series ?? one.study ?? "" }),
              h("span", { text: one.reason ?? "" }),
            ),
          ),
        );
        fill(foot, done);
      }
      return [bar, line, list, foot];
    },
    { wide: true },
  );
  ending.abort();
  return last;
}

function show(job, bar, line) {
  const { remaining, completed = 0, warnings = 0, failed = 0 } = job.progress ?? job;
  const did = completed + warnings;
  const over = !["queued", "running"].includes(job.state);
  if (over || typeof remaining === "number") {
    bar.max = Math.max(did + failed + (remaining ?? 0), 1);
    bar.value = over ? bar.max : did + failed;
  }
  const words = {
    queued: "Waiting for its turn",
    running: "Under way",
    done: "Done",
    failed: "Failed",
    cancelled: "Cancelled",
  };
  line.classList.toggle("trouble", job.state === "failed");
  line.textContent =
    [
      `${words[job.state] ?? job.state}: ${count(did, "image")} through`,
      remaining ? `${remaining.toLocaleString("en")} to go` : "",
      failed ? `${failed} failed` : "",
    ]
      .filter(Boolean)
      .join(", ") + (job.error ? `. ${job.error}` : ".");
}

/** Where a peer is, as far as it is told. */
export function address(peer) {
  return [peer.ae_title ?? peer.aeTitle, peer.host && `${peer.host}:${peer.port}`]
    .filter(Boolean)
    .join(" at ");
}
