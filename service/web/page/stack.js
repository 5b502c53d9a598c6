// A series as a stack of images, and the pixels of each: windowed here where they are grey, drawn by the
// server where they are anything else.

import { functionalGroup, item, number, numbers, text } from "./attributes.js";
import {
  greyOf,
  levelOf,
  lutOf,
  mayBeNegative,
  modalityLut,
  occurring,
  paint,
  samplesOf,
  shapeOf,
  windowShown,
} from "./grey.js";

// What a viewer has to know of each instance: a fraction of all metadata.
const GROUPS = ["00289132", "00289145", "00289110", "00209116"];
const FIELDS = [
  "00080016",
  "00080018",
  "00102210",
  "00180040",
  "00181063",
  "00181164",
  "00185101",
  "00200013",
  "00200020",
  "00200037",
  "00200062",
  "00201041",
  "00280002",
  "00280004",
  "00280008",
  "00280010",
  "00280011",
  "00280030",
  "00280034",
  "00280100",
  "00280101",
  "00280102",
  "00280103",
  "00280120",
  "00280121",
  "00281050",
  "00281051",
  "00281052",
  "00281053",
  "00281054",
  "00281055",
  "00281056",
  "00281101",
  "00282110",
  "00283000",
  "00283010",
  "20500020",
  "00420012",
  ...GROUPS.flatMap((tag) => [`52009229.${tag}`, `52009230.${tag}`]),
];

const NATIVE = "application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1";
const PICTURES = "image/png";
const SEGMENTS = ["1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7"];
const STATES = "1.2.840.10008.5.1.4.1.1.11.";
const VIDEOS = [
  "1.2.840.10008.5.1.4.1.1.77.1.1.1",
  "1.2.840.10008.5.1.4.1.1.77.1.2.1",
  "1.2.840.10008.5.1.4.1.1.77.1.4.1",
];
const DOCUMENTS = "1.2.840.10008.5.1.4.1.1.104.";
const REPORTS = "1.2.840.10008.5.1.4.1.1.88.";
const MOST_SAMPLES = 1 << 26;
const MOST_PLACES = 400000; // whatever numbers of frames are told: slides have up to some hundred thousand

/** The images of a series in order, frame by frame; what is no image has one place. */
export async function stackOf(archive, resource, signal) {
  const found = await archive.metadata(resource, FIELDS, signal);
  const order = (one) => number(one, "00200013") ?? Infinity;
  found.sort((a, b) => order(a) - order(b) || text(a, "00080018").localeCompare(text(b, "00080018")));
  let room = MOST_PLACES;
  return found.flatMap((dataSet) => {
    const kind = kindOf(dataSet);
    const frames = kind === "image" ? Math.max(Math.trunc(number(dataSet, "00280008") ?? 1), 1) : 1;
    const shape = kind === "image" && !SEGMENTS.includes(text(dataSet, "00080016")) ? shapeOf(dataSet) : null;
    const instance = text(dataSet, "00080018");
    const places = Math.min(frames, room);
    room -= places;
    return Array.from({ length: places }, (_, index) => ({
      ...resource,
      instance,
      frame: index + 1,
      frames,
      dataSet,
      kind,
      shape: shape && shape.rows * shape.columns <= MOST_SAMPLES ? shape : null,
    }));
  });
}

function kindOf(dataSet) {
  const sopClass = text(dataSet, "00080016");
  if (VIDEOS.includes(sopClass)) return "video";
  if (sopClass.startsWith(STATES)) return "state";
  if (sopClass.startsWith(REPORTS)) return "report";
  if (sopClass.startsWith(DOCUMENTS)) return "document";
  return number(dataSet, "00280010") && number(dataSet, "00280011") ? "image" : "other";
}

/** The height of a pixel by its width. */
export function aspectOf({ dataSet, frame }) {
  const measures = functionalGroup(dataSet, frame, "00289110");
  const pairs = [
    numbers(measures, "00280030"),
    numbers(dataSet, "00280034"),
    numbers(dataSet, "00280030"),
    numbers(dataSet, "00181164"),
  ];
  const pair = pairs.find((one) => one.length === 2 && one[0] > 0 && one[1] > 0);
  const ratio = pair ? pair[0] / pair[1] : 1;
  return Math.abs(ratio - 1) < 0.01 || ratio < 0.05 || ratio > 20 ? 1 : ratio;
}

/** How many images a second the series was made with; 15 where it does not say. */
export function rateOf({ dataSet }) {
  const apart = number(dataSet, "00181063");
  const rate = number(dataSet, "00180040") ?? (apart > 0 ? 1000 / apart : 15);
  return Math.min(Math.max(rate, 1), 60);
}

/** Load what is at a place of the stack: something with `draw(window, inverted)` and `bytes`. */
export async function loadSlot(archive, slot, signal) {
  if (slot.kind === "image" && slot.shape) {
    const response = await archive.get(archive.url(slot, ""), NATIVE, signal);
    const buffer = await response.arrayBuffer();
    if (buffer.byteLength >= slot.shape.size && buffer.byteLength <= slot.shape.size + 1) {
      return new GreyFrame(slot, samplesOf(buffer, slot.shape), await lutsOf(archive, slot, signal));
    }
  }
  return Picture.load(archive, slot, signal);
}

/** A frame of grey values, windowed here. */
export class GreyFrame {
  #canvas = null;
  #painted = "";

  constructor(slot, samples, luts) {
    this.slot = slot;
    this.samples = samples;
    this.width = slot.shape.columns;
    this.height = slot.shape.rows;
    this.bytes = slot.shape.size * 1.2;
    this.grey = greyOf(slot.dataSet, slot.shape, slot.frame, luts);
    this.span = this.grey.voi || this.grey.span ? null : occurring(samples, slot.shape, this.grey);
  }

  /** The window that shows what its own attributes want shown. */
  get ownWindow() {
    return windowShown(this.grey, this.span);
  }

  /** A canvas with the frame in a window, its own if that is null. */
  draw(window, inverted) {
    const told = JSON.stringify([window, inverted]);
    if (this.#painted !== told) {
      this.#canvas ??= Object.assign(document.createElement("canvas"), {
        width: this.width,
        height: this.height,
      });
      const context = this.#canvas.getContext("2d");
      const image = context.createImageData(this.width, this.height);
      const grey = { ...this.grey, voi: window ?? this.grey.voi, inverted: this.grey.inverted !== inverted };
      paint(this.samples, this.slot.shape, levelOf(grey, this.span), new Uint32Array(image.data.buffer));
      context.putImageData(image, 0, 0);
      this.#painted = told;
    }
    return this.#canvas;
  }

  /** Give back the canvas; the samples stay. */
  rest() {
    this.#canvas = null;
    this.#painted = "";
  }
}

/** A picture that the server has drawn: colour, and whatever is not windowed here. */
export class Picture {
  ownWindow = null;

  constructor(bitmap) {
    this.bitmap = bitmap;
    this.width = bitmap.width;
    this.height = bitmap.height;
    this.bytes = this.width * this.height * 4;
  }

  static async load(archive, slot, signal) {
    const place = slot.kind === "state" ? { ...slot, frame: null } : slot;
    const response = await archive.get(archive.url(place, "/rendered"), PICTURES, signal);
    return new Picture(await createImageBitmap(await response.blob()));
  }

  draw(window, inverted) {
    if (!inverted) return this.bitmap;
    const canvas = Object.assign(document.createElement("canvas"), {
      width: this.width,
      height: this.height,
    });
    const context = canvas.getContext("2d");
    context.drawImage(this.bitmap, 0, 0);
    context.globalCompositeOperation = "difference";
    context.fillStyle = "#fff";
    context.fillRect(0, 0, this.width, this.height);
    return canvas;
  }

  rest() {}

  close() {
    this.bitmap.close();
  }
}

const luts = new WeakMap();

/** The LUTs of an instance, read once for all of its frames. */
function lutsOf(archive, { dataSet, shape, instance, study, series }, signal) {
  if (!dataSet["00283000"] && !dataSet["00283010"]) return {};
  if (!luts.has(dataSet)) {
    const reading = readLuts(archive, archive.url({ study, series, instance }), dataSet, shape, signal);
    reading.catch(() => luts.delete(dataSet));
    luts.set(dataSet, reading);
  }
  return luts.get(dataSet);
}

async function readLuts(archive, place, dataSet, shape, signal) {
  const first = modalityLut(dataSet);
  const modality =
    first &&
    lutOf(numbers(first, "00283002"), await octets(archive, place, first["00283006"], signal), shape.signed);
  const second = item(dataSet, "00283010");
  const signed = !modality && mayBeNegative(dataSet, shape);
  const voi =
    second &&
    lutOf(numbers(second, "00283002"), await octets(archive, place, second["00283006"], signal), signed);
  return { modality: modality || undefined, voi: voi || undefined };
}

/** The value of an element as little endian words, wherever it is kept. */
async function octets(archive, place, element, signal) {
  if (element?.InlineBinary)
    return Uint8Array.from(atob(element.InlineBinary), (one) => one.charCodeAt(0)).buffer;
  if (element?.BulkDataURI) {
    // The path is the server's own; host and prefix are those that led here, whatever proxies made of them.
    const below = element.BulkDataURI.split(/\/bulkdata\//)[1] ?? "";
    const response = await archive.get(`${place}/bulkdata/${below}`, "application/octet-stream", signal);
    return response.arrayBuffer();
  }
  return Uint16Array.from(element?.Value ?? []).buffer;
}
