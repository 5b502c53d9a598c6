// From stored values to grey levels, as the server's own rendering does it (PS3.3 C.11.1 to C.11.6):
// modality transformation, value of interest, inversion, padding. Everything here is pure.

import { functionalGroup, item, number, numbers, text } from "./attributes.js";

const TOP = 255;

// XA and XRF: their modality LUT is for subtraction, not for display (PS3.3 C.8.7.1.1.2).
const PROJECTIONS = ["1", "2", "3"].map((last) => `1.2.840.10008.5.1.4.1.1.12.${last}`);

/** How the pixels of an instance lie in a frame; null where they are not for windowing here. */
export function shapeOf(dataSet) {
  const [rows, columns, allocated, stored, high] = [
    "00280010",
    "00280011",
    "00280100",
    "00280101",
    "00280102",
  ].map((tag) => number(dataSet, tag));
  const photometric = text(dataSet, "00280004");
  const signed = number(dataSet, "00280103") === 1;
  const plain =
    (number(dataSet, "00280002") ?? 1) === 1 && ["MONOCHROME1", "MONOCHROME2"].includes(photometric);
  // What has its bits elsewhere, has no fixed width, or shows colour beside grey, the server draws.
  const usual = [8, 16, 32].includes(allocated) && stored >= 1 && stored <= allocated && high === stored - 1;
  if (!plain || !usual || !rows || !columns || dataSet["00281101"]) return null;
  return { rows, columns, allocated, stored, signed, photometric, size: rows * columns * (allocated / 8) };
}

/** The stored values of a frame: bits above Bits Stored cut off, the sign where it belongs. */
export function samplesOf(buffer, shape) {
  if (buffer.byteLength < shape.size) throw new Error("The frame is shorter than its size says.");
  const Kind = { 8: Uint8Array, 16: Uint16Array, 32: Uint32Array }[shape.allocated];
  return new Kind(buffer, 0, shape.rows * shape.columns);
}

/** A stored value out of the bits of a sample. */
export function storedValue(bits, { stored, signed }) {
  if (signed) return (bits << (32 - stored)) >> (32 - stored);
  return stored === 32 ? bits >>> 0 : bits & ((1 << stored) - 1);
}

/** How the image's own attributes want a frame, counted from 1, to be shown. `luts` are those that were read. */
export function greyOf(dataSet, shape, frame, luts = {}) {
  const modality = luts.modality ?? rescaleOf(dataSet, frame);
  return {
    modality,
    voi: voiOf(dataSet, frame, luts),
    inverted: shape.photometric === "MONOCHROME1" || text(dataSet, "20500020") === "INVERSE",
    padding: paddingOf(dataSet, shape),
    span: possible(modality, shape),
  };
}

function rescaleOf(dataSet, frame) {
  const plain = { slope: 1, intercept: 0 };
  if (PROJECTIONS.includes(text(dataSet, "00080016"))) return plain;
  const source = functionalGroup(dataSet, frame, "00289145") ?? dataSet;
  const slope = number(source, "00281053");
  return slope === 0 ? plain : { slope: slope ?? 1, intercept: number(source, "00281052") ?? 0 };
}

/** Whether a modality LUT is to be used, and its sequence item. */
export function modalityLut(dataSet) {
  return PROJECTIONS.includes(text(dataSet, "00080016")) ? null : item(dataSet, "00283000");
}

function voiOf(dataSet, frame, luts) {
  const group = functionalGroup(dataSet, frame, "00289132");
  for (const source of group ? [group, dataSet] : [dataSet]) {
    const window = windowsOf(source)[0];
    if (window) return window;
    if (item(source, "00283010") && luts.voi) return luts.voi;
  }
  return null;
}

/** The windows of a data set or of a functional group, the first of which counts where nobody chooses. */
export function windowsOf(source) {
  const [centers, widths] = [numbers(source, "00281050"), numbers(source, "00281051")];
  const name = text(source, "00281056").toUpperCase().replaceAll("-", "_");
  const kind = ["LINEAR_EXACT", "SIGMOID"].includes(name) ? name : "LINEAR";
  return centers.map((center, place) => ({ center, width: widths[place], kind })).filter(isValid);
}

/** Whether a window has a width that its function allows (PS3.3 C.11.2.1.2.1). */
export function isValid({ center, width, kind }) {
  return Number.isFinite(center) && Number.isFinite(width) && (kind === "LINEAR" ? width >= 1 : width > 0);
}

function paddingOf(dataSet, shape) {
  const value = number(dataSet, "00280120");
  if (value === null) return null;
  const limit = number(dataSet, "00280121") ?? value;
  const ends = [value, limit].map((one) => withSign(one, shape));
  return { low: Math.min(...ends), high: Math.max(...ends) };
}

/** A padding value as a stored value: the same bits may have been read with the other sign. */
function withSign(value, { allocated, signed }) {
  const whole = 2 ** allocated;
  if (signed && value >= whole / 2) return value - whole;
  return !signed && value < 0 ? value + whole : value;
}

/** The modality values that an image of up to 8 bits could hold; null where those that occur are to be shown. */
function possible(modality, { stored, signed }) {
  if (modality.entries) return modality.bits <= 8 ? [0, 2 ** modality.bits - 1] : null;
  if (stored > 8) return null;
  const low = signed ? -(2 ** (stored - 1)) : 0;
  const ends = [low, low + 2 ** stored - 1].map((value) => value * modality.slope + modality.intercept);
  return [Math.min(...ends), Math.max(...ends)];
}

/** Whether modality values may be negative (PS3.3 C.11.2.1.1). */
export function mayBeNegative(dataSet, shape) {
  const { slope, intercept } = rescaleOf(dataSet, 1);
  const low = shape.signed ? -(2 ** (shape.stored - 1)) : 0;
  return Math.min(low * slope + intercept, (low + 2 ** shape.stored - 1) * slope + intercept) < 0;
}

/** A LUT out of its descriptor and its data, little endian words; null if they do not make one. */
export function lutOf(descriptor, content, signed) {
  if (descriptor.length < 3) return null;
  const count = descriptor[0] & 0xffff || 0x10000;
  let first = descriptor[1];
  if (signed && first > 0x7fff) first -= 0x10000;
  else if (!signed && first < 0) first += 0x10000;
  const words = content.byteLength >= 2 * count || content.byteLength < count;
  const length = words ? Math.min(count, content.byteLength >> 1) : count;
  const view = new DataView(content);
  const entries = Float64Array.from({ length }, (_, place) =>
    words ? view.getUint16(2 * place, true) : view.getUint8(place),
  );
  if (!length || descriptor[2] < 1 || descriptor[2] > 16) return null;
  const largest = entries.reduce((most, one) => Math.max(most, one), 0);
  const bits = Math.max(descriptor[2], largest ? Math.floor(Math.log2(largest)) + 1 : 0);
  return { first, entries, bits };
}

function looked(lut, value) {
  const place = Math.min(Math.max(Math.floor(value + 0.5) - lut.first, 0), lut.entries.length - 1);
  return lut.entries[place];
}

/** The modality value of a stored one. */
export function modalityValue(modality, stored) {
  return modality.entries ? looked(modality, stored) : stored * modality.slope + modality.intercept;
}

/** The function from stored values to levels of 0 to 255; `span` is for an image without a window. */
export function levelOf(grey, span) {
  const mapped = mapping(grey.voi, grey.span ?? span);
  const { padding, inverted, modality } = grey;
  return (stored) => {
    if (padding && stored >= padding.low && stored <= padding.high) return 0;
    const level = Math.floor(mapped(modalityValue(modality, stored)) + 0.5);
    return inverted ? TOP - level : level;
  };
}

function mapping(voi, span) {
  if (voi?.entries) return (value) => looked(voi, value) * (TOP / (2 ** voi.bits - 1));
  if (!voi) {
    const [low, high] = span;
    return high <= low
      ? () => 0
      : (value) => Math.min(Math.max(((value - low) * TOP) / (high - low), 0), TOP);
  }
  if (voi.kind === "SIGMOID")
    return (value) =>
      TOP /
      (1 +
        Math.exp(
          Math.min(Math.max(value - voi.center, -100 * voi.width), 100 * voi.width) * (-4 / voi.width),
        ));
  const exact = voi.kind === "LINEAR_EXACT";
  const [center, width] = exact ? [voi.center, voi.width] : [voi.center - 0.5, voi.width - 1];
  if (width === 0) return (value) => (value > center ? TOP : 0);
  return (value) => Math.min(Math.max(((value - center) * TOP) / width + TOP / 2, 0), TOP);
}

/** The lowest and the highest modality value that occur, padding aside. */
export function occurring(samples, shape, grey) {
  let [low, high] = [Infinity, -Infinity];
  const seen = (stored) => {
    if (grey.padding && stored >= grey.padding.low && stored <= grey.padding.high) return;
    const value = modalityValue(grey.modality, stored);
    if (value < low) low = value;
    if (value > high) high = value;
  };
  if (shape.allocated <= 16) {
    const there = new Uint8Array(2 ** shape.allocated);
    for (const bits of samples) there[bits] = 1;
    there.forEach((is, bits) => is && seen(storedValue(bits, shape)));
  } else {
    for (const bits of samples) seen(storedValue(bits, shape));
  }
  return low <= high ? [low, high] : [0, 0];
}

/** The window that shows what is shown: what dragging begins from. */
export function windowShown(grey, span) {
  if (grey.voi && !grey.voi.entries) return grey.voi;
  const [low, high] = grey.voi?.entries
    ? [grey.voi.first, grey.voi.first + grey.voi.entries.length - 1]
    : (grey.span ?? span);
  return { center: (low + high) / 2, width: Math.max(high - low, 1e-6), kind: "LINEAR_EXACT" };
}

/** Draw a frame: opaque grey pixels into `pixels`, 32 bits each, by one look-up a pixel up to 16 bits. */
export function paint(samples, shape, level, pixels) {
  if (shape.allocated > 16) {
    for (let place = 0; place < samples.length; place += 1)
      pixels[place] = opaque(level(storedValue(samples[place], shape)));
    return;
  }
  const table = new Uint32Array(2 ** shape.allocated);
  for (let bits = 0; bits < table.length; bits += 1) table[bits] = opaque(level(storedValue(bits, shape)));
  for (let place = 0; place < samples.length; place += 1) pixels[place] = table[samples[place]];
}

function opaque(level) {
  return (0xff000000 | (level << 16) | (level << 8) | level) >>> 0;
}
