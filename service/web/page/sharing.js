// Share links: for a person outside, one study, to look at only, until a day that is chosen.

import { dialog } from "./dialog.js";
import { button, fill, h } from "./dom.js";
import { moment } from "./format.js";

const DAY_S = 86400;
const LIVES = [
  ["1 day", DAY_S],
  ["1 week", 7 * DAY_S],
  ["30 days", 30 * DAY_S],
];

/** Ask how long a link to a study is to be good, make it, and have it copied. */
export async function shareDialog(archive, study, subject) {
  await dialog("Share this study", () => {
    const life = h(
      "select",
      { name: "life" },
      LIVES.map(([text, seconds]) => h("option", { value: seconds, text })),
    );
    const line = h("p", { class: "line", role: "status" });
    const foot = h("footer");
    const make = button(
      "share",
      "Make a link",
      async () => {
        make.disabled = true;
        line.classList.remove("trouble");
        try {
          const made = await archive.share(study, Number(life.value));
          life.disabled = true;
          show(made, line, foot);
        } catch (error) {
          line.classList.add("trouble");
          line.textContent = error.message;
          make.disabled = false;
        }
      },
      { class: "primary" },
    );
    fill(foot, make);
    return [
      h("div", { class: "subject" }, subject.filter(Boolean).map((text) => h("p", { text }))),
      h("p", {
        text: "Whoever has the link sees this study without signing in, names and all. They can neither change it nor see any other.",
      }),
      h("label", { class: "field" }, h("span", { text: "Good for" }), life),
      line,
      foot,
    ];
  });
}

function show({ token, ends }, line, foot) {
  const address = new URL(`?share=${encodeURIComponent(token)}`, new URL(".", document.baseURI)).href;
  const field = h("input", { type: "text", class: "link", readonly: true, value: address, "aria-label": "Link" });
  const copy = button(
    "copy",
    "Copy",
    async () => {
      field.select();
      try {
        await navigator.clipboard.writeText(address);
        line.textContent = "Copied. It cannot be shown again.";
      } catch {
        line.textContent = "This browser copies nothing for the page: it is marked, copy it by keys.";
      }
    },
    { class: "primary" },
  );
  line.textContent = `Good until ${moment(ends)}. It cannot be shown again.`;
  fill(foot, field, copy);
  field.focus();
  field.select();
}
