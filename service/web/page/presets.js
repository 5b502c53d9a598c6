// Windows that are in use for modalities, beside those that the image brings along.

import { functionalGroup, values } from "./attributes.js";
import { windowsOf } from "./grey.js";

const CT = [
  ["Soft tissue", 40, 400],
  ["Lung", -600, 1500],
  ["Bone", 400, 1800],
  ["Brain", 40, 80],
  ["Mediastinum", 50, 350],
  ["Liver", 60, 160],
];

/** The presets for a frame: its own windows first, named as it names them, then those of CT. */
export function presetsOf({ dataSet, frame }, modality) {
  const source = functionalGroup(dataSet, frame, "00289132") ?? dataSet;
  const explained = values(source, "00281055");
  const own = windowsOf(source).map((window, place) => ({
    label: String(explained[place] ?? `Window ${place + 1}`),
    window,
  }));
  const usual =
    modality === "CT"
      ? CT.map(([label, center, width]) => ({ label, window: { center, width, kind: "LINEAR" } }))
      : [];
  return [...own.slice(0, 3), ...usual].slice(0, 9);
}
