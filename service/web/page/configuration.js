// What the server says of itself: where its DICOMweb root is, and what stands beside it.

import { Bridge } from "./bridge.js";
import { Dicomweb, Refusal } from "./dicomweb.js";

/** What every view is given: the archive, the bridge (null: none), and what can be done. */
export async function configured() {
  let told;
  try {
    const response = await fetch("config.json");
    if (!response.ok)
      throw new Refusal(response.status, `config.json: ${response.status} ${response.statusText}`);
    told = await response.json();
  } catch (error) {
    if (error instanceof Refusal) throw error;
    throw new Refusal(0, "Check the connection to the server and try again.");
  }
  return {
    archive: new Dicomweb(new URL(told.dicomweb, document.baseURI).href),
    bridge: told.bridge ? new Bridge(told.bridge) : null,
    ohif: told.ohif,
    deletes: told.deletes,
  };
}
