// What the list of studies is searched for: fields of a form, parameters of an address, keys of a search.

/** The fields that text is typed into, the first one on every screen. */
export const TEXTS = [
  { name: "name", label: "Patient name", hint: "Patient name" },
  { name: "id", label: "Patient ID", hint: "Patient ID" },
  { name: "accession", label: "Accession number", hint: "Accession no." },
  { name: "description", label: "Study description", hint: "Description" },
];

export const MODALITIES = [
  "BMD",
  "CR",
  "CT",
  "DOC",
  "DX",
  "ECG",
  "ES",
  "IO",
  "IVUS",
  "KO",
  "MG",
  "MR",
  "NM",
  "OP",
  "OPT",
  "OT",
  "PR",
  "PT",
  "PX",
  "REG",
  "RF",
  "RTDOSE",
  "RTPLAN",
  "RTSTRUCT",
  "SC",
  "SEG",
  "SM",
  "SR",
  "US",
  "XA",
  "XC",
];

export const PERIODS = [
  { name: "", label: "Any date" },
  { name: "0", label: "Today" },
  { name: "7", label: "Last 7 days" },
  { name: "31", label: "Last month" },
  { name: "366", label: "Last year" },
  { name: "range", label: "From … to …" },
];

const KEYS = { id: "PatientID", accession: "AccessionNumber", description: "StudyDescription" };
const DAY_MS = 86400000;

/** The keys of a search for `criteria`, names and values as the address has them. */
export function keysOf(criteria) {
  const keys = {};
  const name = criteria.get("name")?.trim();
  if (name) {
    // Wildcards are meant as such; other words begin a part of the name, in whatever way it is written here.
    const words = !/[*?^=]/.test(name);
    keys.PatientName = words ? name.replaceAll(/[,·]/g, " ").trim() : name;
    if (words) keys.fuzzymatching = "true";
  }
  for (const [field, keyword] of Object.entries(KEYS)) {
    const typed = criteria.get(field)?.trim();
    if (typed)
      keys[keyword] = /[*?]/.test(typed) ? typed : field === "description" ? `*${typed}*` : `${typed}*`;
  }
  if (criteria.get("modality")) keys.ModalitiesInStudy = criteria.get("modality");
  const range = datesOf(criteria);
  if (range) keys.StudyDate = range;
  return keys;
}

/** Study Date as a range, empty for any. */
function datesOf(criteria) {
  const period = criteria.get("period") ?? "";
  if (period === "range") {
    const [from, to] = ["from", "to"].map((name) => (criteria.get(name) ?? "").replaceAll("-", ""));
    return from || to ? `${from}-${to}` : "";
  }
  if (!/^\d+$/.test(period)) return "";
  return `${asDate(new Date(Date.now() - Number(period) * DAY_MS))}-`;
}

function asDate(day) {
  return [day.getFullYear(), day.getMonth() + 1, day.getDate()]
    .map((one) => String(one).padStart(2, "0"))
    .join("");
}
