// Addresses for links and for media elements, whose requests have no header: where one is needed, the address
// itself is good for one study and for a few minutes.

const LIFE_S = 300; // the server gives no longer ones to who may only look
const LEAST_MS = 120000;

const kept = new WeakMap();

/** An address by which a browser may ask for what lies at `address`; `null` where there is none. */
export async function linked(archive, study, address) {
  const { session } = archive;
  if (!session.bearer) return address;
  const token = session.link ?? (archive.shares ? await passing(archive, study) : null);
  return token && `${address}${address.includes("?") ? "&" : "?"}share=${encodeURIComponent(token)}`;
}

/** A token for one study, the one before while it is good for a while. */
async function passing(archive, study) {
  if (!kept.has(archive)) kept.set(archive, new Map());
  const tokens = kept.get(archive);
  if (!(tokens.get(study)?.ends - Date.now() > LEAST_MS)) tokens.set(study, await archive.share(study, LIFE_S));
  return tokens.get(study).token;
}
