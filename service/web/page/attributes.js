// Reading of the DICOM JSON model (PS3.18 annex F). Odd content is absent, never an error.

/** The values of an attribute as they stand. */
export function values(dataSet, tag) {
  const found = dataSet?.[tag]?.Value;
  return Array.isArray(found) ? found : [];
}

/** The first value as text; of a person's name the first group that there is. */
export function text(dataSet, tag) {
  const value = values(dataSet, tag)[0];
  if (value === null || value === undefined) return "";
  if (typeof value === "object") return String(Object.values(value).find(Boolean) ?? "").trim();
  return String(value).trim();
}

/** The values as finite numbers; empty if one of them is none. */
export function numbers(dataSet, tag) {
  const found = values(dataSet, tag).map((value) => (typeof value === "string" ? asNumber(value) : value));
  return found.every((value) => typeof value === "number" && Number.isFinite(value)) ? found : [];
}

/** The first value as a finite number, or null. */
export function number(dataSet, tag) {
  const value = values(dataSet, tag)[0];
  const found = typeof value === "string" ? asNumber(value) : value;
  return typeof found === "number" && Number.isFinite(found) ? found : null;
}

/** The first item of a sequence, or null. */
export function item(dataSet, tag) {
  const found = values(dataSet, tag)[0];
  return found !== null && typeof found === "object" ? found : null;
}

/** The functional group macro `tag` of a frame, counted from 1: its own, else the shared one (PS3.3 C.7.6.16). */
export function functionalGroup(dataSet, frame, tag) {
  const own = values(dataSet, "52009230")[frame - 1];
  return item(own, tag) ?? item(item(dataSet, "52009229"), tag);
}

function asNumber(value) {
  return value.trim() === "" ? NaN : Number(value);
}
