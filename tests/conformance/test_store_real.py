"""Real objects taken apart by foreign programs, stored as metadata and bulk data, compared with themselves.

pydicom and DCMTK write the metadata: neither knows this service.
"""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.tag import BaseTag

from service.dicom.syntaxes import BY_UID, EXPLICIT_BE, OCTETS, Form
from tests.composing import JSON, XML, Bulk, a_body, post_body
from tests.conformance.rows import cites
from tests.reading import data_set, differences
from tests.sites import Site

pytestmark = pytest.mark.filterwarnings("ignore")  # pydicom's, about the files

# What differs for a reason, wherever it is.
EXCEPTIONS = (
    0x00080005,  # text in DICOM JSON and XML is UTF-8, and so it is stored (PS3.18 F.2)
    0xFFFCFFFC,  # trailing padding is in no metadata
    0x7FE00001,  # offset tables are of the fragments that were before
    0x7FE00002,
    0x00420015,  # the length of an encapsulated document is filled in where it was missing (PS3.3 C.24.2)
)
LARGEST = 300_000
# What cannot be said in metadata, by no fault of who reads it.
LEFT_OUT = (
    "encapsulation/jpeg2000-multiframe-multifragments.dcm",  # UIDs of 67 characters
    "modality/mr/slicethickness_empty_string.dcm",  # an icon whose pixel data are encapsulated
)


def taken_apart(file: bytes) -> tuple[dict[str, Any], list[Bulk]]:
    """The DICOM JSON that pydicom writes of a file, and the values that it leaves out, a part each.

    The pixels of a compressed image are one part a frame, in the media type of their transfer syntax.
    """
    found = data_set(file)
    bulk: list[Bulk] = []
    syntax = BY_UID[found.file_meta.TransferSyntaxUID]

    def detached(element: DataElement) -> str:
        uri = f"bulk/{len(bulk)}"
        if element.tag == 0x7FE00010 and syntax.encapsulated:
            count = int(found.get("NumberOfFrames", 1) or 1) if syntax.form is Form.FRAMES else 1
            kind = f"{syntax.media_type or 'image/jpeg'}; transfer-syntax={syntax.uid}"
            bulk.extend(
                Bulk(uri, one, kind) for one in generate_frames(element.value, number_of_frames=count)
            )
        else:
            bulk.append(Bulk(uri, bytes(element.value), OCTETS, tell_length=len(bulk) % 2 == 0))
        return uri

    return found.to_json_dict(bulk_data_threshold=64, bulk_data_element_handler=detached), bulk


def wrong_with(site: Site, response: Any, file: bytes) -> list[str]:
    """What of the stored object differs from `file`."""
    if response.status_code != 200:
        return [f"{response.status_code} {response.text[:300]}"]
    url = response.json()["00081199"]["Value"][0]["00081190"]["Value"][0]
    sent = data_set(file)
    kept = data_set(site.get(url, "application/dicom; transfer-syntax=*").content)
    syntax = BY_UID[sent.file_meta.TransferSyntaxUID]
    wrong = []
    if syntax.encapsulated:
        if kept.file_meta.TransferSyntaxUID != syntax.uid:
            wrong.append(f"transfer syntax {kept.file_meta.TransferSyntaxUID}")
        count = int(sent.get("NumberOfFrames", 1) or 1)
        frames = [
            [codestream(frame) for frame in generate_frames(one.PixelData, number_of_frames=count)]
            for one in (sent, kept)
        ]
        if frames[0] != frames[1]:
            wrong.append("frames differ")
        del sent.PixelData, kept.PixelData
    names = tuple(str(BaseTag(tag)) for tag in EXCEPTIONS)
    found = differences(tidy(kept), tidy(sent), big_endian=syntax.uid == EXPLICIT_BE)
    return wrong + [text for text in found if not text.rpartition("/")[2].startswith(names)]


def codestream(frame: bytes) -> bytes:
    """`frame` without padding, and without the JP2 file that some writers wrap a codestream in."""
    start = frame.find(b"\xff\x4f\xff\x51") if frame[4:8] == b"jP  " else 0
    return frame[start:].rstrip(b"\0")


def tidy(found: Dataset) -> Dataset:
    """`found` without what means nothing: spaces around values, the last carets of names."""
    for element in found.iterall():
        if element.VR in ("AE", "CS", "LO", "SH", "UC", "IS", "DS", "PN", "UI", "DA", "TM", "DT"):
            values = element.value if element.VM > 1 else [element.value]
            texts = [plain(element.VR, value) for value in values]
            element.value = texts if len(texts) > 1 else texts[0]
    return found


def plain(vr: str, value: Any) -> Any:
    if vr in ("IS", "DS"):
        return value if value is None or value == "" else float(value)
    text = "" if value is None else str(value).strip(" \0")
    return (
        "=".join(group.strip().rstrip("^") for group in text.split("=")).rstrip("=") if vr == "PN" else text
    )


def chosen(manifest: list[dict[str, str]], real_data: Path) -> list[Path]:
    """A file of each class, transfer syntax and character set, and every twelfth other one, all small."""
    sound = [
        row
        for row in manifest
        if row["has_all_uids"] == "yes"
        and not row["path"].startswith("malformed/")
        and row["path"] not in LEFT_OUT
        and int(row["bytes"]) < LARGEST
        and row["transfer_syntax"] != EXPLICIT_BE
        and (real_data / row["path"]).read_bytes()[128:132] == b"DICM"
    ]
    paths = {row["path"] for row in sound[::12]}
    for column in ("sop_class", "transfer_syntax", "charset", "modality"):
        paths |= {row["path"] for row in {row[column]: row for row in sound}.values()}
    return [real_data / path for path in sorted(paths)]


@cites("PS3.18 10.5.2, F.2", "metadata and bulk data make the object that they were taken from")
def test_objects_that_pydicom_took_apart(open_site, real_data, manifest):
    files = chosen(manifest, real_data)
    problems: list[str] = []
    for path in files:
        site = open_site()
        document, bulk = taken_apart(path.read_bytes())
        response = post_body(site, a_body([json.dumps([document]).encode()], bulk))
        problems += [
            f"{path.relative_to(real_data)}: {text}" for text in wrong_with(site, response, path.read_bytes())
        ]
    assert not problems, "\n".join(problems)
    assert len(files) > 60


@pytest.mark.parametrize(
    ("program", "options", "kind"),
    [
        pytest.param(
            "dcm2json", (), JSON, marks=cites("PS3.18 F.2", "DICOM JSON that DCMTK writes"), id="JSON"
        ),
        pytest.param(
            "dcm2xml", ("-nat", "+Eb"), XML, marks=cites("PS3.19 A.1", "XML that DCMTK writes"), id="XML"
        ),
    ],
)
def test_objects_that_dcmtk_wrote(open_site, real_data, manifest, program, options, kind):
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed.")
    problems: list[str] = []
    count = 0
    for path in chosen(manifest, real_data)[::4]:
        file = path.read_bytes()
        if BY_UID[data_set(file).file_meta.TransferSyntaxUID].encapsulated:
            continue
        written = subprocess.run([program, *options, str(path)], capture_output=True, timeout=20, check=False)
        if written.returncode or written.stderr:  # it says what it could not write, such as private creators
            continue
        site = open_site()
        found = wrong_with(site, site.post(written.stdout, kind), file)
        # DCMTK writes words in big endian to XML, and doubles with too few digits to both.
        astray = ("FD", *(("OB", "OD", "OF", "OL", "OV", "OW") if kind == XML else ()))
        found = [text for text in found if not text.endswith(tuple(f" {vr} value" for vr in astray))]
        problems += [f"{path.relative_to(real_data)}: {text}" for text in found]
        count += 1
    assert not problems, "\n".join(problems)
    assert count > 5
