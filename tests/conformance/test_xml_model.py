"""The Native DICOM Model: metadata and search results in XML (PS3.19 annex A.1), and DCMTK's against them."""

import base64
import itertools
import math
import re
import shutil
import struct
import subprocess
import xml.etree.ElementTree as ET
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service.index.port import OnDuplicate
from tests.composing import XML, XML_PARTS
from tests.conformance.rows import cites, row
from tests.elements import element, file_of, item, sequence
from tests.keeping import path_of
from tests.making import a_ct, a_data_set, a_file, new_uid
from tests.reading import parts_of
from tests.sites import Site

NAMESPACE = "http://dicom.nema.org/PS3.19/models/NativeDICOM"
NS = f"{{{NAMESPACE}}}"
A1 = "PS3.19 A.1.5"
CREATOR = element(0x00090010, "LO", b"ROWS")


def document(site: Site, *files: bytes) -> str:
    """The metadata of the last of the files, as they are written."""
    response = site.get(path_of(site, *files) + "/metadata", XML)
    assert (response.status_code, response.headers["content-type"]) == (200, XML)
    return response.content.decode("utf-8")


# One attribute in, its element as it is written out.
ELEMENTS = [
    row(
        A1,
        "tag, vr and keyword, a numbered value",
        element(0x00100020, "LO", b"P1"),
        '<DicomAttribute tag="00100020" vr="LO" keyword="PatientID">'
        '<Value number="1">P1</Value></DicomAttribute>',
    ),
    row(
        A1,
        "an attribute without a value has no child",
        element(0x00100020, "LO", b""),
        '<DicomAttribute tag="00100020" vr="LO" keyword="PatientID"/>',
    ),
    row(
        A1,
        "an empty value among others keeps its number",
        element(0x00080008, "CS", b"A\\\\C"),
        '<Value number="1">A</Value><Value number="2"></Value><Value number="3">C</Value>',
    ),
    row(
        A1,
        "person names by group and component",
        element(0x00100010, "PN", b"Fa^Gi^Mi^Pr^Su=Id^Eo=Ph "),
        '<PersonName number="1"><Alphabetic><FamilyName>Fa</FamilyName><GivenName>Gi</GivenName>'
        "<MiddleName>Mi</MiddleName><NamePrefix>Pr</NamePrefix><NameSuffix>Su</NameSuffix></Alphabetic>"
        "<Ideographic><FamilyName>Id</FamilyName><GivenName>Eo</GivenName></Ideographic>"
        "<Phonetic><FamilyName>Ph</FamilyName></Phonetic></PersonName>",
    ),
    row(
        A1,
        "several names are numbered, a group that is empty left out",
        element(0x00081048, "PN", b"A^B\\==C "),
        '<PersonName number="1"><Alphabetic><FamilyName>A</FamilyName><GivenName>B</GivenName></Alphabetic>'
        '</PersonName><PersonName number="2"><Phonetic><FamilyName>C</FamilyName></Phonetic></PersonName>',
    ),
    row(
        A1,
        "a name of delimiters alone has no group",
        element(0x00100010, "PN", b"^^^^"),
        '<PersonName number="1"></PersonName>',
    ),
    row(
        A1,
        "items are numbered, an empty one is there",
        sequence(0x00081140, item(element(0x00100020, "LO", b"P1")), item(b"")),
        '<DicomAttribute tag="00081140" vr="SQ" keyword="ReferencedImageSequence"><Item number="1">'
        '<DicomAttribute tag="00100020" vr="LO" keyword="PatientID">'
        '<Value number="1">P1</Value></DicomAttribute></Item><Item number="2"></Item></DicomAttribute>',
    ),
    row(
        A1,
        "items in items",
        sequence(0x00081140, item(sequence(0x00081199, item(element(0x00100020, "LO", b"P1"))))),
        '<Item number="1"><DicomAttribute tag="00081199" vr="SQ" keyword="ReferencedSOPSequence">'
        '<Item number="1"><DicomAttribute tag="00100020" vr="LO" keyword="PatientID">',
    ),
    row(
        A1,
        "a private element is gggg00ee of its creator",
        CREATOR + element(0x00091001, "SH", b"mine"),
        '<DicomAttribute tag="00090010" vr="LO"><Value number="1">ROWS</Value></DicomAttribute>'
        '<DicomAttribute tag="00090001" vr="SH" privateCreator="ROWS">'
        '<Value number="1">mine</Value></DicomAttribute>',
    ),
    row(
        A1,
        "a creator's name is quoted",
        element(0x00090010, "LO", b'A<&"B ') + element(0x00091001, "SH", b"mine"),
        'privateCreator="A&#60;&#38;&#34;B"',
    ),
    row(
        A1,
        "binary is base64",
        element(0x00282000, "OB", b"\0\1\2\3"),
        "<InlineBinary>AAECAw==</InlineBinary>",
    ),
    row(
        A1,
        "numbers as text, digits kept",
        element(0x00180050, "DS", b"0.10"),
        '<Value number="1">0.10</Value>',
    ),
    row(
        A1,
        "whole numbers of 64 bits",
        CREATOR + element(0x00091001, "UV", struct.pack("<Q", 1 << 63)),
        '<Value number="1">9223372036854775808</Value>',
    ),
    row(
        A1, "AT as digits", element(0x00280009, "AT", b"\x18\0\x63\x10"), '<Value number="1">00181063</Value>'
    ),
    row(
        "XML 1.0 2.2",
        "characters that XML cannot hold are replaced",
        element(0x00104000, "LT", b"a\x1b\x01b"),
        '<Value number="1">a\ufffd\ufffdb</Value>',
    ),
    row(
        "XML 1.0 2.4",
        "markup is quoted",
        element(0x00104000, "LT", b"<&>]]>"),
        '<Value number="1">&#60;&#38;&#62;]]&#62;</Value>',
    ),
    row(
        "XML 1.0 2.11",
        "line ends survive",
        element(0x00104000, "LT", b"a\r\nb\t "),
        '<Value number="1">a&#13;\nb\t</Value>',
    ),
    row(
        "PS3.19 A.1",
        "the text is UTF-8 whatever the object's is",
        element(0x00080005, "CS", b"ISO_IR 100") + element(0x00104000, "LT", b"J\xe9"),
        '<Value number="1">Jé</Value>',
    ),
]


@pytest.mark.parametrize(("content", "expected"), ELEMENTS)
def test_an_attribute_is_written_as_the_model_says(site, content, expected):
    written = document(site, file_of(content))
    assert expected in written
    ET.fromstring(written.encode())


@cites("PS3.19 A.1", "one root of the model's namespace, xml:space preserve")
def test_the_root(site):
    written = document(site, a_ct())
    assert written.startswith('<?xml version="1.0" encoding="UTF-8"?>\n<NativeDicomModel')
    root = ET.fromstring(written.encode())
    assert root.tag == NS + "NativeDicomModel"
    assert root.get("{http://www.w3.org/XML/1998/namespace}space") == "preserve"


@cites("PS3.19 A.1.5", "BulkData has a uri, which can be fetched")
def test_bulk_data_can_be_fetched(site):
    value = bytes(range(250)) * 8
    inner = item(CREATOR + element(0x00091001, "OB", value))
    written = document(site, file_of(sequence(0x00081140, item(b""), inner)))
    (uri,) = re.findall(r'<BulkData uri="([^"]+)"/>', written)
    assert uri.endswith("/bulkdata/00081140/2/00091001")
    assert site.get(uri, "application/octet-stream").content == value


@cites("PS3.19 A.1.5", "numbers that are not finite are to be fetched, as in JSON")
def test_numbers_that_are_not_finite(site):
    written = document(site, file_of(CREATOR + element(0x00091001, "FD", struct.pack("<d", math.nan))))
    assert "<BulkData uri=" in written


@cites("PS3.18 8.7.2", "a part for each instance, with its type and where it is to be had")
def test_a_multipart_has_a_part_for_each_instance(site):
    study = new_uid()
    path_of(site, *(a_ct(study=study, InstanceNumber=number) for number in range(1, 4)))
    response = site.get(f"/studies/{study}/metadata", XML_PARTS)
    assert response.headers["content-type"].startswith(f"{XML_PARTS}; boundary=")
    parts = parts_of(response)
    assert [part.headers["Content-Type"] for part in parts] == [XML] * 3
    for part in parts:
        assert part.headers["Content-Length"] == str(len(part.content))
        assert site.get(part.headers["Content-Location"], XML).content == part.content


@cites("PS3.18 8.7.2", "search results too, a part for each")
def test_search_results_in_xml(site):
    path_of(site, a_file(a_data_set(PatientName="A^B")), a_file(a_data_set(PatientName="C^D")))
    parts = parts_of(site.get("/studies", XML_PARTS))
    names = {ET.fromstring(part.content).find(f".//{NS}FamilyName").text for part in parts}  # type: ignore[union-attr]
    assert names == {"A", "C"}


@cites("PS3.18 8.7.2", "what is said in XML can be stored again, and comes out the same")
def test_what_is_told_in_xml_can_be_stored_again(open_site):
    made = a_data_set(SliceThickness="0.10", PatientName="A^B=C", OtherPatientNames=["X^Y", "Z"])
    made.RequestAttributesSequence = [a_data_set(SpecificCharacterSet="ISO_IR 192"), a_data_set()]
    made.private_block(0x0029, "ACME", create=True).add_new(1, "OB", b"\1\2")
    one, other = open_site(), open_site()
    path = path_of(one, a_file(made))
    content = one.get(path + "/metadata", XML).content
    body = b"--b\r\nContent-Type: application/dicom+xml\r\n\r\n" + content + b"\r\n--b--"
    answer = other.post(body, f"{XML_PARTS}; boundary=b")
    assert answer.status_code == 200, answer.text
    assert other.get(path + "/metadata", XML).content == content


# DCMTK's dcm2xml, another implementation of the model


DIFFERENCES = {
    "character set": "The text is UTF-8, so that is what (0008,0005) says; dcmconv says it of text alone.",
    "available transfer syntaxes": "(0008,3002) is added by the service.",
    "trailing padding": "Data Set Trailing Padding has no meaning (PS3.10 7.2).",
    "keyword of a retired attribute": "PS3.6 has keywords for them too; dcm2xml leaves them out.",
    "known VR": "An attribute of UN, a creator too, has the VR of the dictionary; dcm2xml keeps UN.",
    "private without creator": "Nobody's element has its whole tag: gggg00ee would not tell its block.",
    "spelling of a number": "The same number: DS as JSON can write it, floats in their shortest form.",
    "bulk data": "What is over 1024 bytes is to be fetched; dcm2xml was asked to write all of it.",
    "byte order": "Words are little endian; dcm2xml writes them big endian.",
    "name without a component": "A name of delimiters alone is a value; dcm2xml leaves it out.",
}

Tree = dict[tuple[str, str | None], tuple[str | None, str | None, list[Any]]]


def tree_of(element: ET.Element) -> Tree:
    """The attributes below a root or an item: by tag and creator, their VR, keyword and content."""
    found: Tree = {}
    for attribute in element:
        tag = str(attribute.get("tag")).upper()
        content = [content_of(child) for child in attribute]
        found[tag, attribute.get("privateCreator")] = (attribute.get("vr"), attribute.get("keyword"), content)
    return found


def content_of(child: ET.Element) -> tuple[Any, ...]:
    name = child.tag.removeprefix(NS)
    if name == "Item":
        return name, child.get("number"), tree_of(child)
    if name == "PersonName":
        groups = {
            group.tag.removeprefix(NS): {part.tag.removeprefix(NS): part.text for part in group}
            for group in child
        }
        return name, child.get("number"), groups
    return (name,) if name == "BulkData" else (name, child.get("number"), child.text)


def differences(ours: Tree, theirs: Tree) -> Iterator[tuple[str, object]]:
    """The name of each difference, or an empty one, and what differs."""
    theirs = dict(theirs)
    for key in sorted(ours, key=str):
        tag, creator = key
        nobodys = (f"{tag[:4]}00{tag[6:]}", None)
        other = theirs.pop(key, None)
        if other is None and int(tag[3], 16) % 2 and nobodys in theirs:
            other = theirs.pop(nobodys)
            yield "private without creator" if creator is None else "known VR", tag
        if other is None:
            added = {"00080005": "character set", "00083002": "available transfer syntaxes"}
            yield added.get(tag, ""), (key, ours[key])
        else:
            yield from attribute_differences(tag, ours[key], other)
    for tag, creator in theirs:
        left = {"00080005": "character set", "FFFCFFFC": "trailing padding"}
        yield left.get(tag, ""), ((tag, creator), theirs[tag, creator])


def attribute_differences(tag: str, ours: Any, theirs: Any) -> Iterator[tuple[str, object]]:
    if ours[1] != theirs[1]:
        yield "keyword of a retired attribute" if theirs[1] is None else "", (tag, ours[1], theirs[1])
    if ours[0] != theirs[0]:
        yield "known VR" if theirs[0] == "UN" else "", (tag, ours, theirs)
        return
    if ours[0] == "SQ" and len(ours[2]) == len(theirs[2]):
        for one, other in zip(ours[2], theirs[2], strict=True):
            assert one[:2] == other[:2]
            yield from differences(one[2], other[2])
    elif ours[2] != theirs[2]:
        yield value_difference(tag, ours[0], ours[2], theirs[2]), (tag, ours, theirs)


def value_difference(tag: str, vr: str, ours: list[Any], theirs: list[Any]) -> str:
    if tag == "00080005":
        return "character set"
    if vr == "PN":
        return "name without a component" if ours == [("PersonName", "1", {})] and not theirs else ""
    if ours == [("BulkData",)]:
        return "bulk data"
    if vr in ("OW", "OF", "OD", "OL", "OV"):
        return "byte order" if turned(vr, ours[0][2]) == base64.b64decode(theirs[0][2]) else ""
    if vr in ("DS", "IS", "FL", "FD") and len(ours) == len(theirs):
        pairs = [(one[2] or 0, other[2] or 0) for one, other in zip(ours, theirs, strict=True)]
        same = all(math.isclose(float(one), float(other), rel_tol=1e-7) for one, other in pairs)
        return "spelling of a number" if same else ""
    return ""


def turned(vr: str, inline: str) -> bytes:
    width = {"OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8}[vr]
    words = itertools.batched(base64.b64decode(inline), width)
    return b"".join(bytes(reversed(word)) for word in words)


def dcm2xml(file: Path, folder: Path) -> ET.Element:
    """What DCMTK makes of a file whose text it has turned into UTF-8."""
    unicode = folder / "unicode.dcm"
    subprocess.run(["dcmconv", "+U8", file, unicode], capture_output=True, check=True, timeout=30)
    done = subprocess.run(
        ["dcm2xml", "-nat", "+Xn", "+Eb", unicode], capture_output=True, check=True, timeout=30
    )
    return ET.fromstring(done.stdout)


def chosen(manifest: list[dict[str, str]]) -> list[dict[str, str]]:
    """Some of each folder: 50 and more that are sound and not large."""
    groups: dict[str, list[dict[str, str]]] = defaultdict(list)
    for one in manifest:
        if (
            one["path"].startswith("malformed/")
            or one["has_all_uids"] != "yes"
            or int(one["bytes"]) > 500_000
        ):
            continue
        groups[one["path"].rpartition("/")[0]].append(one)
    return [one for group in groups.values() for one in group[:: max(1, len(group) // 3)]]


@cites("PS3.19 A.1", "the documents say what another implementation says of the same objects")
@pytest.mark.skipif(shutil.which("dcm2xml") is None, reason="DCMTK (dcm2xml, dcmconv) is not installed")
@pytest.mark.timeout(300)
def test_the_documents_of_real_files_are_those_of_dcmtk(open_site, real_data, manifest, tmp_path):
    site = open_site(on_duplicate=OnDuplicate.REPLACE)
    met: set[str] = set()
    unexplained: list[str] = []
    compared = 0
    for one in chosen(manifest):
        try:
            theirs = dcm2xml(real_data / one["path"], tmp_path)
        except (subprocess.CalledProcessError, ET.ParseError):
            continue  # what DCMTK cannot convert, or writes with characters that XML has not
        response = site.post((real_data / one["path"]).read_bytes())
        if response.status_code not in (200, 202):
            continue
        url = response.json()["00081199"]["Value"][0]["00081190"]["Value"][0]
        ours = ET.fromstring(site.get(url + "/metadata", XML).content)
        compared += 1
        for name, what in differences(tree_of(ours), tree_of(theirs)):
            met.add(name)
            if not name:
                unexplained.append(f"{one['path']}: {what!r:.250}")
    assert not unexplained, "\n".join(unexplained)
    assert compared >= 50
    assert met == set(DIFFERENCES)  # an excuse that nothing needs is none
