"""An object that went in compared with what comes out."""

import hashlib

import numpy as np
from pydicom import config
from pydicom.dataset import Dataset

from service.dicom.syntaxes import BY_UID, EXPLICIT_BE
from tests.reading import data_set, differences, turned
from tests.sites import Site


def what_is_wrong(site: Site, url: str, content: bytes, row: dict[str, str]) -> list[str]:
    """What of the stored object at `url` differs from `content`, described by a row of the manifest."""
    wrong: list[str] = []
    response = site.get(url, "application/dicom; transfer-syntax=*")
    if response.status_code != 200:
        return [f"GET {response.status_code} {response.text[:200]}"]
    syntax = row["transfer_syntax"]
    before = data_set(content)
    if content[128:132] == b"DICM" and BY_UID[syntax].leaves_as_stored:
        fits = before.file_meta.get("MediaStorageSOPInstanceUID") == before.SOPInstanceUID
        if response.content != content and (fits or data_set_of(response.content) != data_set_of(content)):
            wrong.append("the object is not byte for byte what was sent")
    else:
        wrong += rewritten_differs(content, response.content, syntax)
    metadata = site.get(url + "/metadata")
    if metadata.status_code != 200 or len(metadata.json()) != 1:
        wrong.append(f"metadata {metadata.status_code}")
    return wrong + wrong_frame(site, url, row, before)


def rewritten_differs(content: bytes, sent: bytes, syntax: str) -> list[str]:
    if syntax != EXPLICIT_BE:
        return differences(data_set(content), data_set(sent), big_endian=False)
    # A value of UN is copied as it is (PS3.5 6.2.2): compare its bytes, not what a vendor means by them.
    config.replace_un_with_known_vr = False
    try:
        return differences(data_set(content), data_set(sent), big_endian=True)
    finally:
        config.replace_un_with_known_vr = True


def wrong_frame(site: Site, url: str, row: dict[str, str], before: Dataset) -> list[str]:
    """Native frames against the pixels that independent decoders agree on.

    Where decoders give something else than what is stored (bits unpacked or masked, planes or chroma
    interleaved), against the stored bytes as pydicom reads them.
    """
    syntax = BY_UID.get(row["transfer_syntax"])
    if not row["pixel_sha256_frame1"] or syntax is None or syntax.encapsulated:
        return []
    response = site.get(url + "/frames/1", "application/octet-stream")
    if response.status_code != 200:
        return [f"frame {response.status_code} {response.text[:200]}"]
    pixels = response.content
    if row["bits_alloc_stored_repr"].startswith("1/"):
        bits = np.unpackbits(np.frombuffer(pixels, np.uint8), bitorder="little")
        pixels = bits[: before.Rows * before.Columns].tobytes()
    if hashlib.sha256(pixels).hexdigest() == row["pixel_sha256_frame1"]:
        return []
    decoded_otherwise = (
        "masking" in row["pixel_note"]
        or row["photometric"] == "YBR_FULL_422"
        or before.get("PlanarConfiguration") == 1
    )
    stored = before.PixelData
    if syntax.big_endian and before["PixelData"].VR == "OW":
        stored = turned(stored, max(2, before.BitsAllocated // 8))
    first = before.Rows * before.Columns * before.get("SamplesPerPixel", 1) * before.BitsAllocated // 8
    if row["photometric"] == "YBR_FULL_422":
        first = first * 2 // 3
    if decoded_otherwise and response.content == stored[:first]:
        return []
    return [f"the first frame differs ({row['photometric']}, {row['bits_alloc_stored_repr']})"]


def data_set_of(content: bytes) -> bytes:
    """The bytes behind the file meta information, whose group length is right in these files."""
    return content[144 + int.from_bytes(content[140:144], "little") :]
