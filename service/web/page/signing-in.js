// Signing in: away to the issuer and back to the same place, or in a window beside what is under way here.

import { Issuer } from "./oidc.js";
import { Refusal } from "./refusal.js";

const KEPT = "isthmus.sign-in";
const CHANNEL = "isthmus.sign-in";
const SIGNED_OUT = "signed-out";
const TAKEN_MS = 2000;

/** The issuer that the server names; it leads back to the page, wherever that is. */
export function issuerOf(auth) {
  return new Issuer(auth, new URL(".", document.baseURI).href);
}

/** Whether the address is what an issuer leads back to. */
export function hasAnswer() {
  const told = new URLSearchParams(location.search);
  return told.has("state") && (told.has("code") || told.has("error"));
}

/** Whether somebody comes back from signing out. */
export function isSignedOut() {
  return new URLSearchParams(location.search).get("state") === SIGNED_OUT;
}

/** Go to the issuer, to come back to this place. Never resolves. */
export async function leave(issuer) {
  const { address, asked } = await issuer.begin();
  keep({ ...asked, place: location.hash });
  location.replace(address);
  await new Promise(() => {});
}

/**
 * The tokens that the address stands for; the address is that of the place again. `null` if they were asked
 * for by another window, which has been told.
 */
export async function comeBack(issuer) {
  const answer = new URLSearchParams(location.search);
  const asked = kept();
  const known = asked?.state === answer.get("state");
  if (!known && (await handedOver(location.search))) return null;
  forget(known ? asked.place : location.hash);
  if (!known) throw new Refusal(401, "This sign-in was not begun here, or it was begun long ago.");
  return issuer.redeem(answer, asked);
}

/** Leave nothing of an answer in the address: it is of use once. */
export function forget(place = location.hash) {
  history.replaceState(null, "", location.pathname + place);
}

/** Sign out, here and at the issuer. Never resolves, unless nothing is known of signing out there. */
export async function signOut(session) {
  const address = await session.end(SIGNED_OUT).catch(() => null);
  if (!address) return;
  location.replace(address);
  await new Promise(() => {});
}

/**
 * A sign-in in a window of its own, made ready. Its `open`, which has to be called while somebody clicks,
 * resolves with the tokens; it gives `null` where the browser opens no window. `close` ends the waiting.
 */
export async function beside(issuer) {
  const { address, asked } = await issuer.begin();
  const channel = new BroadcastChannel(CHANNEL);
  return {
    close: () => channel.close(),
    open() {
      if (!window.open(address, "_blank", "popup,width=520,height=720")) return null;
      return answerOn(channel, asked.state).then((answer) => issuer.redeem(answer, asked));
    },
  };
}

function answerOn(channel, state) {
  return new Promise((resolve) => {
    channel.addEventListener("message", ({ data }) => {
      if (typeof data?.answer !== "string") return;
      const answer = new URLSearchParams(data.answer);
      if (answer.get("state") !== state) return;
      channel.postMessage({ taken: state });
      setTimeout(() => channel.close());
      resolve(answer);
    });
  });
}

/** Whether another window of this page has asked for this answer, and has it. */
function handedOver(answer) {
  const state = new URLSearchParams(answer).get("state");
  const channel = new BroadcastChannel(CHANNEL);
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve(false), TAKEN_MS);
    channel.addEventListener("message", ({ data }) => {
      if (data?.taken !== state) return;
      clearTimeout(timer);
      resolve(true);
    });
    channel.postMessage({ answer });
  }).finally(() => setTimeout(() => channel.close()));
}

/** What is asked is kept for the way there and back, in this tab only. */
function keep(asked) {
  try {
    sessionStorage.setItem(KEPT, JSON.stringify(asked));
  } catch {
    throw new Refusal(0, "This browser keeps nothing for this page, which it has to while you sign in.");
  }
}

/** What was asked, once. */
function kept() {
  try {
    const told = sessionStorage.getItem(KEPT);
    sessionStorage.removeItem(KEPT);
    return JSON.parse(told);
  } catch {
    return null;
  }
}
