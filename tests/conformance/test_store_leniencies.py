"""What is read although it is slightly wrong: every row of docs/leniencies.md, and no other."""

import json
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from service.dicom.dicomxml import xml_document
from service.dicom.part10 import file_head
from service.dicom.syntaxes import EXPLICIT_LE, IMPLICIT_LE, ROOT
from tests.composing import JSON, OCTETS, PIXELS, URI, XML, Bulk, a_body, an_image, metadata, post_body
from tests.conformance.rows import cites, row
from tests.making import CT, a_ct, a_data_set, a_file, add_pixels, new_uid
from tests.reading import data_set
from tests.sites import ROOT as URL
from tests.sites import Site

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "leniencies.md"
NAME = re.compile(r"^\| `([a-z0-9-]+)` \|", re.MULTILINE)
FINDING = re.compile(r"^\| `([a-z0-9-]+)` \|.*\| ([^|]+) \|$", re.MULTILINE)
LONG = ("OB", "OW", "SQ", "UN", "UT")


# Files


def bare(syntax: str = EXPLICIT_LE, **attributes: Any) -> bytes:
    """A data set without anything before it."""
    file = a_file(a_data_set(**attributes), syntax)
    return file[144 + int.from_bytes(file[140:144], "little") :]


def meta(syntax: str = EXPLICIT_LE, instance: str = "1.2.3") -> bytes:
    return file_head(CT, instance, syntax)


def named(*elements: bytes, syntax: str = EXPLICIT_LE) -> bytes:
    """A file of a small data set and `elements` behind it."""
    instance = new_uid()
    return meta(syntax, instance) + bare(syntax, instance=instance) + b"".join(elements)


def element(tag: int, vr: str, value: bytes, length: int | None = None) -> bytes:
    size = len(value) if length is None else length
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr.encode())
    return head + struct.pack("<HI" if vr in LONG else "<H", *((0, size) if vr in LONG else (size,))) + value


def first(*elements: bytes) -> bytes:
    """A file whose data set begins with `elements`."""
    instance = new_uid()
    return meta(instance=instance) + b"".join(elements) + bare(instance=instance)


def named_person(value: bytes, charset: bytes = b"") -> bytes:
    made = a_data_set()
    del made.PatientName
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_dataset(buffer, made)
    declared = element(0x00080005, "CS", charset) if charset else b""
    return (
        meta(instance=made.SOPInstanceUID) + declared + buffer.getvalue() + element(0x00401002, "LO", value)
    )


def encapsulated(syntax: str, frames: int, *codestreams: bytes) -> bytes:
    """A file with these fragments; `syntax` stands in its file meta whatever it was made in."""
    made = add_pixels(a_data_set(), [bytes(32)])
    made.NumberOfFrames = frames
    file = a_file(made, ROOT + ".4.50", codestreams=codestreams)
    head = 144 + int.from_bytes(file[140:144], "little")
    return meta(syntax, made.SOPInstanceUID) + file[head:]


def spaced_uid() -> bytes:
    uid = new_uid()
    uid += "" if len(uid) % 2 else "1"
    return a_file(a_data_set(instance=uid)).replace(uid.encode() + b"\0", uid.encode() + b" ")


def without_rows() -> bytes:
    made = add_pixels(a_data_set(), [bytes(32)])
    del made.Rows
    return a_file(made)


ITEM = b"\xfe\xff\x00\xe0"
FILES: list[tuple[str, str, Callable[[], bytes]]] = [
    ("PS3.10 7.1", "no-preamble", lambda: named()[132:]),
    ("PS3.10 7.1", "no-file-meta", lambda: bare() + bytes(0)),
    ("PS3.10 7.1", "no-file-meta-implicit", lambda: bare(IMPLICIT_LE)),
    (
        "PS3.10 7.1",
        "group-length-before-meta",
        lambda: named()[:132] + element(0x00080000, "UL", bytes(4)) + named()[132:],
    ),
    ("PS3.10 7.1", "meta-length-wrong", lambda: named()[:140] + b"\xff\0\0\0" + named()[144:]),
    (
        "PS3.10 7.1",
        "meta-without-uids",
        lambda: bytes(128) + b"DICM" + element(0x00020010, "UI", EXPLICIT_LE.encode() + b"\0") + bare(),
    ),
    ("PS3.5 9.1", "uid-padded-with-space", spaced_uid),
    (
        "PS3.5 9.1",
        "uid-with-leading-zero",
        lambda: a_file(a_data_set(instance=new_uid())).replace(b"2.25.77", b"2.25.07"),
    ),
    ("PS3.5 A", "other-vr-encoding", lambda: meta(EXPLICIT_LE) + bare(IMPLICIT_LE, instance="1.2.3")),
    ("PS3.5 6.2", "unknown-vr", lambda: named(element(0x00401001, "ZZ", b"ab"))),
    (
        "PS3.5 6.2.2",
        "sequence-as-un",
        lambda: named(
            element(
                0x00400275,
                "UN",
                ITEM + struct.pack("<I", 10) + struct.pack("<HHI", 0x0040, 0x1001, 2) + b"ab",
            )
        ),
    ),
    ("PS3.5 7.1.1", "odd-length", lambda: named(element(0x00401001, "SH", b"abc"))),
    ("PS3.5 7.1", "out-of-order", lambda: named(element(0x00080070, "LO", b"ACME"))),
    ("PS3.5 7.1", "twice", lambda: named(element(0x00080060, "CS", b"MR"))),
    ("PS3.5 7.1", "zero-bytes-behind", lambda: named(bytes(8))),
    ("PS3.10 7.2", "padding-behind", lambda: named(element(0xFFFCFFFC, "OB", bytes(64)))),
    (
        "PS3.5 7.5",
        "damaged-inside",
        lambda: named(
            element(0x00400275, "SQ", ITEM + struct.pack("<I", 12) + b"\x40\0\x01\x10SH\x40\0abcd")
        ),
    ),
    (
        "PS3.5 7.1.2",
        "undefined-length-without-items",
        lambda: named(element(0x0040A160, "UT", b"some text.", 0xFFFFFFFF), b"\xfe\xff\xdd\xe0\0\0\0\0"),
    ),
    ("PS3.5 6.1", "unknown-character-set", lambda: first(element(0x00080005, "CS", b"ISO_IR 999"))),
    ("PS3.5 6.1", "undeclared-character-set", lambda: named_person(b"J\xf6rg")),
    ("PS3.5 6.1", "bytes-outside-character-set", lambda: named_person(b"J\xf6rg", b"ISO_IR 192")),
    ("PS3.5 6.2", "not-a-number", lambda: named(element(0x00181164, "DS", b"wide"))),
    ("PS3.5 6.2", "decimal-too-long", lambda: named(element(0x00181164, "DS", b"0.12345678901234567890"))),
    ("PS3.5 6.2", "cut-word", lambda: named(element(0x00280010, "US", b"abc"))),
    ("PS3.5 6.2.1", "more-name-groups", lambda: first().replace(b"Doe^Jane", b"Do=J=n=e")),
    ("PS3.3 C.7.6.3", "short-pixel-data", lambda: a_ct((bytes(10),))),
    ("PS3.3 C.7.6.3", "unusable-image-attributes", without_rows),
    ("PS3.5 A.4", "pixel-data-in-other-form", lambda: encapsulated(EXPLICIT_LE, 1, b"\xff\xd8\xff\xd9")),
    (
        "PS3.5 A.4",
        "frames-not-told-apart",
        lambda: encapsulated(ROOT + ".4.50", 3, b"\xff\xd8\xff\xd9", b"\xff\xd8\xff\xd9"),
    ),
]


@pytest.mark.parametrize(("name", "make"), [row(section, name, name, make) for section, name, make in FILES])
def test_a_file_that_is_slightly_wrong_is_stored_as_it_came(site, name, make):
    # given
    file = make()
    # when
    response = site.post(file)
    # then: findings change no status
    assert response.status_code == 200, response.text
    (stored,) = response.json()["00081199"]["Value"]
    assert "00081196" not in stored
    url = stored["00081190"]["Value"][0]
    assert site.get(url + "/metadata").status_code == 200
    if b"DICM" in file[:132] and name not in ("group-length-before-meta", "meta-without-uids"):
        assert site.get(url, "application/dicom; transfer-syntax=*").content == file
    # and: the finding is the one that is documented
    promised = dict(FINDING.findall(DOCUMENT.read_text()))[name].strip()
    kept = site.get(url + "/findings").json()
    if promised == "none":
        assert kept == []
    else:
        assert any(promised.strip("“”").removesuffix(".") in one for one in kept), kept


@cites("PS3.18 Table I.2-1", "`meta-of-another-object`: the warning B007")
def test_meta_of_another_object(site):
    file = meta(instance="1.2.4") + bare(instance="1.2.3")
    (stored,) = site.post(file).json()["00081199"]["Value"]
    assert stored["00081196"]["Value"] == [0xB007]


# Requests


def multipart(
    body: bytes, kind: str = "multipart/related; type=application/dicom; boundary=bnd"
) -> Callable[[Site], Any]:
    return lambda site: site.post(body, kind)


def part(content: bytes, head: bytes = b"Content-Type: application/dicom", end: bytes = b"\r\n") -> bytes:
    return b"--bnd" + end + head + end * 2 + content + end


def composed(document: Any, *bulk: Bulk, kind: str = JSON) -> Callable[[Site], Any]:
    return lambda site: post_body(site, a_body([encoded(document)], bulk, kind=kind), kind=kind)


def encoded(document: Any) -> bytes:
    return document if isinstance(document, bytes) else json.dumps(document).encode()


def with_value(tag: str, **attribute: Any) -> dict[str, Any]:
    return {**metadata(), tag: attribute}


def lowered() -> dict[str, Any]:
    return {key.lower(): value for key, value in metadata(T0040A730={"vr": "SQ", "Value": []}).items()}


def xml(change: Callable[[bytes], bytes], **more: Any) -> bytes:
    return change(xml_document(metadata(shape=False, **more)))


FOUR = [b"four", b"byte", b"each"]
NATIVE = {"T00280010": 2, "T00280011": 2, "T00280100": 8, "T00280101": 8, "T00280102": 7}
SMALL = {tag: {"vr": "US", "Value": [number]} for tag, number in NATIVE.items()}
REQUESTS: list[tuple[str, str, Callable[[Site], Any], str, Any]] = [
    ("RFC 2046 5.1.1", "line-end-before-boundary", multipart(b"\r\n" + part(a_ct()) + b"--bnd--"), "", None),
    ("RFC 2046 5.1.1", "bare-line-feeds", multipart(part(a_ct(), end=b"\n") + b"--bnd--"), "", None),
    (
        "RFC 2046 5.1.1",
        "spaces-behind-boundary",
        multipart(part(a_ct()).replace(b"--bnd", b"--bnd  ", 1) + b"--bnd--"),
        "",
        None,
    ),
    ("RFC 2046 5.1.1", "last-boundary-without-dashes", multipart(part(a_ct()) + b"--bnd\r\n"), "", None),
    (
        "RFC 2046 5.1.1",
        "told-length-without-boundary",
        multipart(part(a_ct(), b"Content-Length: %d" % len(a_ct()))),
        "",
        None,
    ),
    ("RFC 2046 5.1", "part-without-type", multipart(part(a_ct(), b"X-Y: 1") + b"--bnd--"), "", None),
    (
        "RFC 2387 3.1",
        "no-type-parameter",
        multipart(part(a_ct()) + b"--bnd--", "multipart/related; boundary=bnd"),
        "",
        None,
    ),
    ("PS3.18 10.5.2", "single-file", lambda site: site.post(a_ct()), "", None),
    ("PS3.18 10.5.2", "single-data-set", lambda site: site.post(encoded(metadata()), JSON), "", None),
    (
        "PS3.18 8.7.3",
        "old-media-types",
        composed(an_image(), Bulk(URI, b"\1\0\0\0" * 16, "image/x-dicom-rle")),
        "",
        None,
    ),
    ("PS3.18 F.2.1", "object-for-array", composed(metadata()), "", None),
    ("PS3.18 F.2.2", "lower-case-tags", composed([lowered()]), "PatientName", "Doe^Jané"),
    (
        "PS3.18 F.2.2",
        "value-without-array",
        composed(with_value("00100020", vr="LO", Value="P7")),
        "PatientID",
        "P7",
    ),
    ("PS3.18 F.2.2", "number-as-text", composed(with_value("00280010", vr="US", Value=["7"])), "Rows", 7),
    (
        "PS3.18 F.2.2",
        "text-as-number",
        composed(with_value("00100020", vr="LO", Value=[70])),
        "PatientID",
        "70",
    ),
    (
        "PS3.18 F.2.3",
        "words-for-numbers",
        composed(with_value("00186028", vr="FD", Value=["NaN", "Infinity", "-Infinity"])),
        "[0x00186028]",
        "[nan, inf, -inf]",
    ),
    ("PS3.18 F.2.2", "no-vr", composed(with_value("00100020", Value=["P7"])), "PatientID", "P7"),
    (
        "PS3.18 F.2.2",
        "plain-person-name",
        composed(with_value("00100010", vr="PN", Value=["A^B"])),
        "PatientName",
        "A^B",
    ),
    (
        "PS3.18 F.2.7",
        "spaces-in-base64",
        composed(with_value("00091001", vr="OB", InlineBinary="AAEC\r\n AwQF")),
        "[0x00091001]",
        bytes(range(6)),
    ),
    ("RFC 8259 8.1", "byte-order-mark", composed(b"\xef\xbb\xbf" + encoded(metadata())), "", None),
    (
        "PS3.18 10.5.2",
        "attributes-that-are-none",
        composed(
            metadata(
                T00020010={"vr": "UI", "Value": ["1"]},
                T00080000={"vr": "UL", "Value": [1]},
                T00083002={"vr": "UI", "Value": ["1"]},
            )
        ),
        "get('AvailableTransferSyntaxUID')",
        None,
    ),
    (
        "PS3.19 A.1",
        "xml-without-namespace",
        composed(xml(lambda text: re.sub(rb' xmlns="[^"]*"', b"", text)), kind=XML),
        "PatientName",
        "Doe^Jané",
    ),
    (
        "PS3.19 A.1",
        "xml-with-whole-private-tags",
        composed(
            xml(
                lambda text: text.replace(b'tag="00090001"', b'tag="00091001"'),
                T00090010={"vr": "LO", "Value": ["ACME"]},
                T00091001={"vr": "LO", "Value": ["x"]},
            ),
            kind=XML,
        ),
        "[0x00091001]",
        "x",
    ),
    (
        "PS3.19 A.1",
        "bulk-data-by-uuid",
        composed(
            an_image(T7FE00010={"vr": "OW", "BulkDataURI": "urn:uuid:B7E0C7A4-98F6-4A94-9F4A-6F0A4E5D9A01"}),
            Bulk("b7e0c7a4-98f6-4a94-9f4a-6f0a4e5d9a01", PIXELS),
        ),
        "PixelData",
        PIXELS,
    ),
    (
        "RFC 3986 5",
        "relative-references",
        composed(an_image(T7FE00010={"vr": "OW", "BulkDataURI": "x/1"}), Bulk(f"{URL}/studies/x/1", PIXELS)),
        "PixelData",
        PIXELS,
    ),
    (
        "PS3.18 8.6.1",
        "bulk-data-without-type",
        composed(an_image(), Bulk(URI, PIXELS, "")),
        "PixelData",
        PIXELS,
    ),
    (
        "PS3.18 10.5.2",
        "native-frames-one-by-one",
        composed(an_image(frames=3, **SMALL), *(Bulk(URI, frame) for frame in FOUR)),
        "PixelData",
        b"".join(FOUR),
    ),
    (
        "PS3.18 10.5.2",
        "file-around-codestream",
        composed(
            an_image(),
            Bulk(
                URI,
                b"\0\0\0\x0cjP  \r\n\x87\n\0\0\0\x10jp2c" + b"codestre",
                f"image/jp2; transfer-syntax={ROOT}.4.90",
            ),
        ),
        "",
        None,
    ),
    (
        "PS3.5 A.2",
        "wide-pixels-as-ob",
        composed(an_image(T7FE00010={"vr": "OB", "BulkDataURI": URI}), Bulk(URI, PIXELS, OCTETS)),
        "['PixelData'].VR",
        "OW",
    ),
]


@pytest.mark.parametrize(
    ("send", "where", "expected"),
    [row(section, name, send, where, expected) for section, name, send, where, expected in REQUESTS],
)
def test_a_request_that_is_slightly_wrong_is_understood(site, send, where, expected):
    response = send(site)
    assert response.status_code == 200, response.text
    (stored,) = response.json()["00081199"]["Value"]
    url = stored["00081190"]["Value"][0]
    assert site.get(url + "/findings").json() == []
    found = data_set(site.get(url, "application/dicom; transfer-syntax=*").content)
    if where:
        assert value_at(found, where) == expected


def value_at(found: Any, where: str) -> Any:
    """What pydicom has at a place, written as a keyword, an item or an expression."""
    if where.startswith("get("):
        return found.get("AvailableTransferSyntaxUID")
    if where.endswith(".VR"):
        return found["PixelData"].VR
    if not where.startswith("["):
        value = getattr(found, where)
        return str(value) if where == "PatientName" else value
    value = found[int(where.strip("[]"), 16)].value
    return value if isinstance(value, bytes | str) else str(list(value))


@cites("docs/leniencies.md", "every leniency has a name, and every name a test")
def test_the_document_lists_what_is_tested():
    tested = [row[1] for row in FILES] + [row[1] for row in REQUESTS] + ["meta-of-another-object"]
    assert sorted(NAME.findall(DOCUMENT.read_text())) == sorted(tested)
