// What the server says of itself: where its DICOMweb root is, and what stands beside it.

import { Bridge } from "./bridge.js";
import { Dicomweb } from "./dicomweb.js";
import { Refusal } from "./refusal.js";

/** What the server tells everybody: where things are, and how one signs in. */
export async function configured() {
  try {
    const response = await fetch("config.json");
    if (!response.ok)
      throw new Refusal(response.status, `config.json: ${response.status} ${response.statusText}`);
    return await response.json();
  } catch (error) {
    if (error instanceof Refusal) throw error;
    throw new Refusal(0, "Check the connection to the server and try again.");
  }
}

/** What every view is given: who uses it, the archive, the bridge (null: none), and what can be done. */
export function houseOf(told, session) {
  const shares = Boolean(told.shares);
  return {
    session,
    archive: new Dicomweb(new URL(told.dicomweb, document.baseURI).href, session, { shares }),
    bridge: told.bridge && !session.study ? new Bridge(told.bridge, session) : null,
    ohif: session.study ? null : told.ohif,
    stores: session.may("store"),
    deletes: told.deletes && session.may("delete"),
    shares: shares && session.may("share"),
  };
}
