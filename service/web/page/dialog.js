// Dialogs and notices.

import { button, fill, h, icon } from "./dom.js";

const NOTICE_MS = 8000;

/**
 * A modal dialog with a title and content; resolves with what `close` is called with, null if dismissed. One
 * that `stays` goes by its own buttons only, for there is something under way in it.
 */
export function dialog(title, build, { wide = false, stays = false } = {}) {
  return new Promise((resolve) => {
    const element = h("dialog", { class: wide ? "dialog wide" : "dialog", "aria-label": title });
    let result = null;
    const close = (value = null) => {
      result = value;
      element.close();
    };
    element.addEventListener("close", () => {
      element.remove();
      resolve(result);
    });
    let outside = false; // text that is marked up to there is no wish to close it
    element.addEventListener("pointerdown", (event) => {
      outside = event.target === element;
    });
    element.addEventListener("click", (event) => {
      if (outside && event.target === element && !stays) close();
    });
    element.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && stays) event.preventDefault();
    });
    const head = h(
      "header",
      {},
      h("h2", { text: title }),
      !stays && button("close", "Close", () => close(), { bare: true }),
    );
    fill(element, h("div", { class: "sheet" }, head, build(close)));
    document.body.append(element);
    element.showModal();
  });
}

/** Whether somebody confirms; `subject` is what it is about, `action` the verb on the button. */
export async function confirmed(title, subject, text, action) {
  const answer = await dialog(title, (close) => [
    h(
      "div",
      { class: "subject" },
      subject.filter(Boolean).map((line) => h("p", { text: line })),
    ),
    h("p", { text }),
    h(
      "footer",
      {},
      button(null, "Cancel", () => close(false), { autofocus: true }),
      button("trash", action, () => close(true), { class: "danger" }),
    ),
  ]);
  return answer === true;
}

/** A line that says what has happened, and goes by itself unless it is about trouble or `stays`. */
export function notice(text, { trouble = false, stays = false } = {}) {
  const line = h(
    "div",
    { class: trouble ? "notice trouble" : "notice" },
    trouble && icon("alert"),
    h("span", { text }),
  );
  line.append(button("close", "Dismiss", () => line.remove(), { bare: true }));
  document.getElementById("notices").append(line);
  if (!trouble && !stays) setTimeout(() => line.remove(), NOTICE_MS);
  return line;
}
