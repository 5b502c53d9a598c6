// The image loader in a page: `load` gives what it made of one frame, `loadObject` of a frame of a whole object.

import { imageLoader, init as initCore } from "@cornerstonejs/core";
import { init, wadors } from "@cornerstonejs/dicom-image-loader";

function base64(samples) {
  const bytes = new Uint8Array(samples.buffer, samples.byteOffset, samples.byteLength);
  let text = "";
  for (let at = 0; at < bytes.length; at += 0x8000) {
    text += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
  }
  return btoa(text);
}

function told(image) {
  const samples = image.getPixelData();
  return {
    rows: image.rows,
    columns: image.columns,
    type: samples.constructor.name,
    samples: base64(samples),
    transferSyntax: image.transferSyntaxUID ?? null,
    quality: image.imageQualityStatus ?? null,
  };
}

// The stored values: no rescale is applied.
const asStored = { preScale: { enabled: false }, useRGBA: false };

async function load(instance, frame, retrieveOptions = {}) {
  const answer = await fetch(`${instance}/metadata`, { headers: { Accept: "application/dicom+json" } });
  const [metadata] = await answer.json();
  const imageId = `wadors:${instance}/frames/${frame}`;
  wadors.metaDataManager.add(imageId, metadata);
  return told(await imageLoader.loadImage(imageId, { ...asStored, retrieveOptions }));
}

async function loadObject(url, frame) {
  return told(await imageLoader.loadImage(`wadouri:${url}&frame=${frame}`, asStored));
}

initCore();
init({ maxWebWorkers: 1, wasmBasePath: "/codecs/" });
window.loader = { load, loadObject };
