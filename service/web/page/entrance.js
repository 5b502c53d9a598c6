// The way in: who uses the page, and what is shown while nobody does.

import { dialog } from "./dialog.js";
import { button, fill, h, message } from "./dom.js";
import { Session, Shared, SignedIn } from "./session.js";
import { beside, comeBack, forget, hasAnswer, issuerOf, isSignedOut, leave, signOut } from "./signing-in.js";

/** Who uses the page. Where nobody does, `main` says why and what to do, and this never resolves. */
export async function entered(auth, main) {
  const link = new URLSearchParams(location.search).get("share");
  const kinds = { oidc: () => bySignIn(auth, main), basic: () => byBrowser(main) };
  const session = await (link ? byLink(link, main) : (kinds[auth?.kind] ?? (() => new Session()))());
  return session ?? new Promise(() => {});
}

/** Sign out, and say so. */
export async function leaveBehind(session, auth, main) {
  document.getElementById("nav").replaceChildren();
  wait(main, "Signing out…");
  await signOut(session);
  // What was on the screen must not be reached by going back, nor what is in memory by anything.
  const elsewhere = "The sign-in service was not told: whoever uses this browser next may be let in without a password.";
  signedOut(main, issuerOf(auth), elsewhere);
}

async function bySignIn(auth, main) {
  const issuer = issuerOf(auth);
  if (isSignedOut()) {
    forget();
    return signedOut(main, issuer);
  }
  let session = null;
  wait(main, "Signing in…");
  try {
    const tokens = await (hasAnswer() ? comeBack(issuer) : leave(issuer));
    if (!tokens) return otherWindow(main);
    session = new SignedIn(issuer, tokens, () => again(issuer));
    await session.identify();
  } catch (error) {
    return refused(main, issuer, error, session, auth);
  }
  return session.may("read") || session.may("store") ? session : nothingPermitted(main, session, auth);
}

/** The browser asks for name and password itself, as soon as the server wants them. */
async function byBrowser(main) {
  const session = new Session();
  wait(main, "Signing in…");
  try {
    const told = await session.identify();
    session.name = told.name;
    return session;
  } catch (error) {
    const retry = button("enter", "Sign in", () => location.reload(), { class: "primary" });
    return tell(main, "lock", error.status === 401 ? "You have to sign in" : "You cannot come in", error, retry);
  }
}

async function byLink(token, main) {
  const session = new Shared(token);
  wait(main, "Opening what is shared with you…");
  try {
    await session.identify();
    return session;
  } catch (error) {
    const over = error.status === 401;
    const retry = button("reset", "Try again", () => location.reload());
    const told = over
      ? { message: "It has ended, was withdrawn, or is cut off. Ask whoever sent it for another one." }
      : error;
    return tell(main, over ? "lock" : "alert", "This link opens nothing", told, ...(over ? [] : [retry]));
  }
}

function wait(main, text) {
  document.title = "Isthmus";
  fill(main, h("p", { class: "waiting", text }));
}

/** Say what keeps somebody out; nobody is in. */
function tell(main, picture, title, { message: text }, ...actions) {
  document.title = `${title} · Isthmus`;
  fill(main, message(picture, title, text, ...actions));
  return null;
}

function signIn(main, issuer, label = "Sign in") {
  return button("enter", label, () => leave(issuer).catch((error) => refused(main, issuer, error)), {
    class: "primary",
  });
}

function signedOut(main, issuer, text = "Nothing of what you saw is kept in this tab.") {
  return tell(main, "lock", "You are signed out", { message: text }, signIn(main, issuer));
}

function refused(main, issuer, error, session = null, auth = null) {
  const title = error.status ? "You could not be signed in" : "The sign-in service does not answer";
  const other = session && button("leave", "Use another account", () => leaveBehind(session, auth, main));
  return tell(main, "alert", title, error, signIn(main, issuer, "Try again"), ...(other ? [other] : []));
}

function nothingPermitted(main, session, auth) {
  const text = `${session.name || "This account"} is signed in, but has no permission here. Ask whoever runs this server.`;
  const out = button("leave", "Sign out", () => leaveBehind(session, auth, main));
  return tell(main, "lock", "You may not use this archive", { message: text }, out);
}

function otherWindow(main) {
  const close = button("close", "Close this window", () => window.close());
  window.close();
  return tell(main, "lock", "You are signed in", { message: "Go on in the other window." }, close);
}

/** The tokens of somebody who signs in once more, while what they were at stays as it is. */
async function again(issuer) {
  for (;;) {
    const tokens = await dialog("Your sign-in has ended", (close) => againSheet(issuer, close), { stays: true });
    if (tokens) return tokens;
  }
}

function againSheet(issuer, close) {
  const text = "Sign in again to go on: what you are at stays as it is, and what was on its way is sent again.";
  const line = h("p", { class: "line", role: "status" });
  const here = button(null, "Sign in in this window", () => leave(issuer).catch(trouble), { hidden: true });
  let window_ = null;
  let ready = null;
  const go = button("enter", "Sign in again", () => {
    window_?.close();
    window_ = ready;
    const answer = ready?.open() ?? null;
    line.classList.toggle("trouble", !answer);
    here.hidden = Boolean(answer);
    line.textContent = answer
      ? "Go on in the other window."
      : "The browser opened no window: allow it, or sign in in this one, which ends what is under way.";
    answer?.then(close, trouble);
    prepare();
  }, { class: "primary", autofocus: true });
  function trouble(error) {
    line.classList.add("trouble");
    line.textContent = error.message;
  }
  function prepare() {
    go.disabled = true;
    beside(issuer)
      .then((one) => {
        ready = one;
      }, (error) => {
        ready = null;
        trouble(error);
      })
      .finally(() => {
        go.disabled = false;
        go.focus();
      });
  }
  prepare();
  return [h("p", { text }), line, h("footer", {}, here, go)];
}
