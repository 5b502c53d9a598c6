// Values as people read them.

import { text, values } from "./attributes.js";

/** "Doe, Jane" for Doe^Jane; every group of the name that there is, the first one first. */
export function personName(dataSet, tag) {
  const value = values(dataSet, tag)[0];
  const groups = value !== null && typeof value === "object" ? Object.values(value) : [value ?? ""];
  return groups.map(oneName).filter(Boolean).join(" · ");
}

function oneName(group) {
  const [family = "", given = "", middle = "", prefix = "", suffix = ""] = String(group)
    .split("^")
    .map((one) => one.trim());
  const first = [prefix, given, middle].filter(Boolean).join(" ");
  return [family, [first, suffix].filter(Boolean).join(", ")].filter(Boolean).join(", ");
}

/** 2024-01-31 for 20240131; whatever else it is, as it is. */
export function date(dataSet, tag) {
  const found = text(dataSet, tag);
  return /^\d{8}$/.test(found) ? `${found.slice(0, 4)}-${found.slice(4, 6)}-${found.slice(6)}` : found;
}

/** 10:15 for 101500.00. */
export function time(dataSet, tag) {
  const found = text(dataSet, tag);
  return /^\d{4}/.test(found) ? `${found.slice(0, 2)}:${found.slice(2, 4)}` : found;
}

/** "5 December 2026 at 14:00", as the browser's clock and language have it. */
export function moment(when) {
  return when.toLocaleString([], { dateStyle: "long", timeStyle: "short" });
}

/** 1,234 with the noun in its number. */
export function count(number, one, many = `${one}s`) {
  return `${Number(number).toLocaleString("en")} ${Number(number) === 1 ? one : many}`;
}

/** 12.3 MB. */
export function bytes(size) {
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  let step = 0;
  let left = size;
  for (; left >= 1000 && step < units.length - 1; step += 1) left /= 1000;
  return `${step ? left.toPrecision(3) : left} ${units[step]}`;
}

/** A number with so many digits as it needs, at most four behind the point. */
export function short(number) {
  return String(Math.round(number * 1e4) / 1e4);
}

/** Text that is put beside other text: what is written from right to left turns nothing around it. */
export function isolated(text) {
  return `\u2068${text}\u2069`;
}
