// Makes calls of dicomweb-client, read as JSON from standard input, and writes what they gave as JSON.
//
// In: {"module": its file, "xhr": the file of an XMLHttpRequest, "client": options of its constructor,
// "calls": [{"method": name, "options": {...}}]}; `datasets` are paths of files.
// Out: for each call {"value": ...} or {"status": of the refusal, "error": its text}; binary values are
// {"base64": content, "contentType", "transferSyntaxUID", "headers": of the part}.

import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const asked = JSON.parse(readFileSync(0, "utf8"));
const { default: XMLHttpRequest } = await import(pathToFileURL(asked.xhr));
globalThis.XMLHttpRequest = XMLHttpRequest;
const { default: dicomweb } = await import(pathToFileURL(asked.module));
const client = new dicomweb.api.DICOMwebClient({ verbose: false, ...asked.client });

function bytesOf(path) {
  const read = readFileSync(path);
  return read.buffer.slice(read.byteOffset, read.byteOffset + read.length);
}

function plain(value) {
  if (value instanceof ArrayBuffer || ArrayBuffer.isView(value)) {
    const { contentType, transferSyntaxUID, headers } = value;
    return {
      base64: Buffer.from(value).toString("base64"),
      contentType,
      transferSyntaxUID,
      headers: headers && Object.fromEntries(headers),
    };
  }
  return Array.isArray(value) ? value.map(plain) : value;
}

// What a page does with the URL that the client builds.
function fetchUri(options) {
  return client._httpGet(client.buildInstanceWadoURIUrl(options), {}, { responseType: "arraybuffer" });
}

const given = [];
for (const { method, options } of asked.calls) {
  if (options.datasets) {
    options.datasets = options.datasets.map(bytesOf);
  }
  try {
    const value = method === "fetchWadoURI" ? await fetchUri(options) : await client[method](options);
    given.push({ value: plain(value) });
  } catch (error) {
    given.push({ status: error.status ?? null, error: String(error.stack) });
  }
}
process.stdout.write(JSON.stringify(given));
