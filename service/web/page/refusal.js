// Answers that are none, and why.

/** An answer that is none: `message` is what the server says, in words that can be shown. */
export class Refusal extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** Whether an error only says that nobody waits for the answer any more. */
export function isAbort(error) {
  return error?.name === "AbortError";
}

/** A response, of whatever status; a `Refusal` where there is none. */
export async function reached(url, options) {
  try {
    return await fetch(url, options);
  } catch (error) {
    if (isAbort(error)) throw error;
    throw new Refusal(0, "The server cannot be reached. Check the connection and try again.");
  }
}

/** A response that is no success as an error. */
export async function refusal(response) {
  return new Refusal(response.status, await refusalOf(response));
}

const WORDS = {
  401: "You have to sign in for this.",
  403: "You may not do this.",
  413: "It is larger than the server takes.",
};

/** Why an answer is none: what the server says, or a proxy before it, which says it in pages of its own. */
export async function refusalOf(response) {
  try {
    const told = await response.json();
    if (told.detail ?? told.title) return told.detail ?? told.title;
  } catch (error) {
    if (isAbort(error)) throw error;
  }
  return WORDS[response.status] ?? `The server answered ${response.status} ${response.statusText}.`;
}
