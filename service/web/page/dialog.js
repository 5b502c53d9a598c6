// Dialogs and notices.

import { button, fill, h, icon } from "./dom.js";

const NOTICE_MS = 8000;

/** A modal dialog with a title and content; resolves with what `close` is called with, null if dismissed. */
export function dialog(title, build, { wide = false } = {}) {
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
    element.addEventListener("click", (event) => {
      if (event.target === element) close();
    });
    const head = h(
      "header",
      {},
      h("h2", { text: title }),
      button("close", "Close", () => close(), { bare: true }),
    );
    fill(element, h("div", { class: "sheet" }, head, build(close)));
    document.body.append(element);
    element.showModal();
  });
}

/** Whether somebody confirms; `action` is the verb on the button. */
export async function confirmed(title, text, action) {
  const answer = await dialog(title, (close) => [
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

/** A line that says what has happened, and goes by itself unless it is about trouble. */
export function notice(text, { trouble = false } = {}) {
  const line = h(
    "div",
    { class: trouble ? "notice trouble" : "notice" },
    trouble && icon("alert"),
    h("span", { text }),
  );
  line.append(button("close", "Dismiss", () => line.remove(), { bare: true }));
  document.getElementById("notices").append(line);
  if (!trouble) setTimeout(() => line.remove(), NOTICE_MS);
  return line;
}
