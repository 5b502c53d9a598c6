// Which way an image lies: the letters of the patient's sides at its edges (PS3.3 C.7.6.1.1.1).

import { functionalGroup, numbers, text, values } from "./attributes.js";

const OPPOSITE = { A: "P", P: "A", R: "L", L: "R", H: "F", F: "H" };
// Where the axes of the patient's coordinates point to (PS3.3 C.7.6.2.1.1): left, posterior, head.
const AXES = ["L", "P", "H"];
const LEAST = 0.2; // of a unit vector: what is less is no tilt that a letter should tell

/** The letters at the top, right, bottom and left of a slot's image as it is stored; null where they are not known. */
export function sidesOf({ dataSet, frame }) {
  if (text(dataSet, "00102210") === "QUADRUPED") return null; // whose letters are others
  const [right, bottom] = directions(dataSet, frame);
  return right && bottom ? [opposite(bottom), right, bottom, opposite(right)] : null;
}

/** The same letters on the screen, after the image was mirrored and then turned clockwise so often by a quarter. */
export function sidesShown(sides, { turns, mirrored }) {
  const [top, right, bottom, left] = sides;
  const lying = mirrored ? [top, left, bottom, right] : sides;
  return lying.map((_, place) => lying[(place + 4 - turns) % 4]);
}

/** Where rows and columns lead to, in letters. */
function directions(dataSet, frame) {
  const plane = functionalGroup(dataSet, frame, "00209116") ?? dataSet;
  const cosines = numbers(plane, "00200037");
  if (cosines.length === 6) return [lettersOf(cosines.slice(0, 3)), lettersOf(cosines.slice(3))];
  const told = values(dataSet, "00200020").map((one) => String(one ?? "").trim());
  return told.length === 2 && told.every((one) => /^[APRLHF]{1,3}$/.test(one)) ? told : [];
}

function lettersOf(vector) {
  return vector
    .map((value, axis) => ({ size: Math.abs(value), letter: value > 0 ? AXES[axis] : OPPOSITE[AXES[axis]] }))
    .filter(({ size }) => size >= LEAST)
    .sort((a, b) => b.size - a.size)
    .map(({ letter }) => letter)
    .join("");
}

function opposite(letters) {
  return [...letters].map((letter) => OPPOSITE[letter]).join("");
}
