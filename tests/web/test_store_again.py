"""Real objects retrieved as metadata and bulk data, stored again, and compared element by element."""

from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.tag import BaseTag

from service.dicom.syntaxes import BY_UID
from tests.composing import JSON, XML, XML_PARTS, Bulk, a_body, fetched, post_body
from tests.making import new_uid
from tests.reading import data_set, differences, parts_of
from tests.sites import Site

pytestmark = pytest.mark.filterwarnings("ignore")  # pydicom's, about the files

SMALL = Path(__file__).resolve().parents[1] / "data" / "dicom"

# What differs for a reason, wherever it is.
EXCEPTIONS = {
    0x00080005: "text in DICOM JSON and XML is UTF-8, and so it is stored (PS3.18 8.8, F.2)",
    0x00080018: "the copy has a UID of its own",
    0x00420015: "the length of an encapsulated document is filled in where it was missing (PS3.3 C.24.2)",
    0xFFFCFFFC: "trailing padding is in no metadata",
}


def without_spaces(found: Dataset) -> Dataset:
    """`found` without what means nothing: spaces at the ends of values, and the last carets of names."""
    for element in found.iterall():
        if element.VR in ("AE", "CS", "LO", "SH", "UC"):
            values = element.value if element.VM > 1 else [element.value]
            stripped = [str(value or "").strip() for value in values]
            element.value = stripped if len(stripped) > 1 else stripped[0]
        elif element.VR == "PN":
            names = element.value if element.VM > 1 else [element.value]
            groups = [[group.strip().rstrip("^") for group in str(name or "").split("=")] for name in names]
            element.value = ["=".join(parts).rstrip("=") for parts in groups]
    return found


def copied(site: Site, other: Site, url: str, *, in_xml: bool, tell_length: bool) -> list[str]:
    """What of the object at `url` is different in the copy that `other` is given of it."""
    (document,) = site.get(url + "/metadata").json()
    (part,) = parts_of(site.get(url + "/metadata", XML_PARTS))
    metadata = part.content if in_xml else site.get(url + "/metadata").content
    instance, uid = document["00080018"]["Value"][0], new_uid()
    if in_xml:
        before, after = (f'keyword="SOPInstanceUID"><Value number="1">{one}<' for one in (instance, uid))
    else:
        before, after = (f'"00080018":{{"vr":"UI","Value":["{one}"]' for one in (instance, uid))
    assert metadata.count(before.encode()) == 1
    metadata = metadata.replace(before.encode(), after.encode())
    bulk: list[Bulk] = fetched(site, document, tell_length=tell_length)
    kind = XML if in_xml else JSON
    response = post_body(other, a_body([metadata], bulk, kind=kind), kind=kind)
    if response.status_code != 200:
        return [f"{response.status_code} {response.text[:300]}"]
    copy = response.json()["00081199"]["Value"][0]["00081190"]["Value"][0]
    stored, again = (
        data_set(one.get(place, "application/dicom; transfer-syntax=*").content)
        for one, place in ((site, url), (other, copy))
    )
    return compared(stored, again)


def compared(stored: Dataset, again: Dataset) -> list[str]:
    wrong: list[str] = []
    if stored.file_meta.TransferSyntaxUID != again.file_meta.TransferSyntaxUID:
        wrong.append(f"transfer syntax {again.file_meta.TransferSyntaxUID}")
    if BY_UID[stored.file_meta.TransferSyntaxUID].encapsulated:
        # Fragments and offset tables are made anew; the frames are the same.
        frames = [
            [codestream(frame) for frame in generate_frames(one.PixelData, number_of_frames=number_of(one))]
            for one in (stored, again)
        ]
        if frames[0] != frames[1]:
            wrong.append("frames differ")
        del stored.PixelData, again.PixelData
    found = differences(without_spaces(stored), without_spaces(again), big_endian=False)
    named = tuple(str(BaseTag(tag)) for tag in EXCEPTIONS)
    return wrong + [text for text in found if not text.rpartition("/")[2].startswith(named)]


def codestream(frame: bytes) -> bytes:
    """`frame` without padding, and without the JP2 file that some writers wrap a codestream in."""
    start = frame.find(b"\xff\x4f\xff\x51") if frame[4:8] == b"jP  " else 0
    return frame[start:].rstrip(b"\0")


def number_of(image: Dataset) -> int:
    return int(image.get("NumberOfFrames", 1) or 1)


def problems_with(open_site: Callable[[], Site], files: list[Path]) -> list[str]:
    problems: list[str] = []
    for number, file in enumerate(files):
        site = open_site()
        response = site.post(file.read_bytes())
        assert response.status_code in (200, 202), (file.name, response.text)
        url = response.json()["00081199"]["Value"][0]["00081190"]["Value"][0]
        for in_xml in (False, True):
            other = open_site()
            found = copied(site, other, url, in_xml=in_xml, tell_length=(number + in_xml) % 2 == 0)
            problems += [f"{file.name} {'XML' if in_xml else 'JSON'}: {text}" for text in found]
    return problems


def test_small_real_objects_survive_a_journey_as_metadata_and_bulk_data(open_site):
    problems = problems_with(open_site, sorted(SMALL.glob("*.dcm")))
    assert not problems, "\n".join(problems)


def test_real_objects_survive_a_journey_as_metadata_and_bulk_data(open_site, real_data, manifest):
    sound = [
        row
        for row in manifest
        if row["has_all_uids"] == "yes"
        and not row["path"].startswith("malformed/")
        and row["path"] != "encapsulation/jpeg2000-multiframe-multifragments.dcm"  # UIDs of 67 characters
    ]
    of_each_syntax = {row["transfer_syntax"]: row for row in sound}.values()
    of_each_charset = {row["charset"]: row for row in sound}.values()
    chosen = {row["path"] for row in (*sound[::16], *of_each_syntax, *of_each_charset)}
    problems = problems_with(open_site, [real_data / path for path in sorted(chosen)])
    assert not problems, "\n".join(problems)
    assert len(chosen) > 50
