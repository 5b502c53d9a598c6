"""What comes out, read by other eyes than ours: multipart by the email package, DICOM by pydicom."""

import email
import email.policy
import io
import re
from dataclasses import dataclass

import httpx2 as httpx
import pydicom
from pydicom.dataset import Dataset

WORDS = {"OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8}


@dataclass(frozen=True)
class Part:
    headers: dict[str, str]
    content: bytes


def parts_of(response: httpx.Response) -> list[Part]:
    """The parts of a multipart response, taken apart at its boundary."""
    kind = response.headers["content-type"]
    assert kind.startswith("multipart/related"), kind
    boundary = re.search(r'boundary="?([^";]+)"?', kind)
    assert boundary is not None
    delimiter = b"\r\n--" + boundary[1].encode()
    body = b"\r\n" + response.content.removeprefix(b"\r\n")
    before, *pieces, last = body.split(delimiter)
    assert before == b""
    assert last.startswith(b"--")
    found = []
    for piece in pieces:
        head, _, content = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        message = email.message_from_bytes(head + b"\r\n\r\n", policy=email.policy.compat32)
        found.append(Part(dict(message.items()), content))
    return found


def data_set(content: bytes) -> Dataset:
    """The data set of a DICOM file."""
    return pydicom.dcmread(io.BytesIO(content), force=True)


def differences(stored: Dataset, sent: Dataset, *, big_endian: bool, where: str = "") -> list[str]:
    """Where two data sets differ, group lengths and padding apart; binary values as little endian."""
    found: list[str] = []
    left = {element.tag: element for element in stored if element.tag.element != 0}
    right = {element.tag: element for element in sent if element.tag.element != 0}
    found += [f"{where}{tag} only in one" for tag in left.keys() ^ right.keys()]
    for tag in left.keys() & right.keys():
        one, other = left[tag], right[tag]
        here = f"{where}{tag}"
        if one.VR == "SQ" or other.VR == "SQ":
            if one.VR != other.VR or len(one.value) != len(other.value):
                found.append(f"{here} items")
                continue
            for number, (inner, outer) in enumerate(zip(one.value, other.value, strict=True), 1):
                found += differences(inner, outer, big_endian=big_endian, where=f"{here}/{number}/")
            continue
        values = [one.value, other.value]
        if isinstance(values[0], bytes) and isinstance(values[1], bytes):
            if big_endian:
                width = WORDS.get(one.VR, 1)
                if width > 1 and one.tag == 0x7FE00010:  # all four bytes of samples of 32 bits
                    width = max(width, stored.BitsAllocated // 8)
                values[0] = turned(values[0], width)
            values = [value.rstrip(b"\0") for value in values]
        if values[0] != values[1] and repr(values[0]) != repr(values[1]):
            found.append(f"{here} {one.VR} value")
    return found


def turned(value: bytes, width: int) -> bytes:
    """`value` with each word's bytes in reverse order."""
    words = [value[at : at + width][::-1] for at in range(0, len(value), width)]
    return b"".join(words)
