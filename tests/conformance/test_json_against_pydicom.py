"""The metadata of every real file against the DICOM JSON that pydicom makes of it.

pydicom is another reading of the same bytes, not the truth. `DIFFERENCES` holds every way in which the two
differ, with the reason why ours is as it is; docs/json-model.md tells users the same under the same names.
"""

import base64
import io
import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset

from service.dicom.syntaxes import EXPLICIT_BE
from service.index.port import OnDuplicate
from tests.conformance.rows import cites

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "json-model.md"
PADDING = " \0"


@dataclass(frozen=True)
class Case:
    """An attribute that differs: as it is served, and as pydicom gives it; `None` where one has it not.

    `theirs` is an error where pydicom cannot give it. `turned` says that it is a UN value of a big endian
    object; `path` is of the file.
    """

    tag: str
    ours: dict[str, Any] | None
    theirs: dict[str, Any] | Exception | None
    turned: bool
    path: str

    @property
    def both(self) -> tuple[dict[str, Any], dict[str, Any]] | None:
        return (self.ours, self.theirs) if self.ours is not None and isinstance(self.theirs, dict) else None


def is_bulk(case: Case) -> bool:
    if case.both is None:
        return False
    ours, theirs = case.both
    return ours["vr"] == theirs["vr"] and "BulkDataURI" in ours and "InlineBinary" in theirs


def is_null(case: Case) -> bool:
    if case.both is None or case.ours is None:
        return False
    ours, theirs = case.both
    values = [None if value == "" else value for value in theirs.get("Value", [])]
    return ours["vr"] == theirs["vr"] and None in values and values == ours.get("Value")


def is_padded(case: Case) -> bool:
    if case.both is None:
        return False
    ours, theirs = case.both
    return ours["vr"] == theirs["vr"] and stripped(ours) == stripped(theirs)


def stripped(attribute: dict[str, Any]) -> list[Any]:
    return [trimmed(value) for value in attribute.get("Value", [])]


def trimmed(value: Any) -> Any:
    if isinstance(value, dict):
        return {group: text.strip(PADDING) for group, text in value.items()}
    return value.strip(PADDING) if isinstance(value, str) else value


def is_encapsulated(case: Case) -> bool:
    return (
        case.tag == "7FE00010" and case.both is not None and [one["vr"] for one in case.both] == ["OB", "OW"]
    )


def is_long_unknown(case: Case) -> bool:
    if case.both is None:
        return False
    _, theirs = case.both
    return theirs["vr"] == "UN" and len(theirs.get("InlineBinary", "")) * 3 // 4 >= 0xFFFF - 2


def is_no_number(case: Case) -> bool:
    return case.ours is not None and case.ours["vr"] in ("DS", "IS") and isinstance(case.theirs, ValueError)


DIFFERENCES: dict[str, tuple[Callable[[Case], bool], str]] = {
    "character set": (
        lambda case: (
            case.tag == "00080005" and (case.ours or {"Value": ["ISO_IR 192"]}).get("Value") == ["ISO_IR 192"]
        ),
        "The text is UTF-8, so that is what (0008,0005) says; pydicom repeats what the object said.",
    ),
    "available transfer syntaxes": (
        lambda case: case.tag == "00083002" and case.theirs is None,
        "(0008,3002) is no part of the object: the service adds what it can be retrieved in.",
    ),
    "group lengths": (
        lambda case: case.ours is None and case.tag.endswith("0000"),
        "Group lengths are not in the model (PS3.18 F.2.2).",
    ),
    "file meta information": (
        lambda case: case.ours is None and case.tag.startswith("0002"),
        "Group 0002 is not of the data set; where its length lies, pydicom takes it for a part of it.",
    ),
    "trailing padding": (
        lambda case: case.ours is None and case.tag == "FFFCFFFC",
        "Data Set Trailing Padding has no meaning (PS3.10 7.2), and would have to be fetched.",
    ),
    "bulk data": (
        is_bulk,
        "Pixel data and values over 1024 bytes are to be fetched (PS3.18 10.4.1.1.2); pydicom writes all.",
    ),
    "empty values": (is_null, "An empty value among others is null (PS3.18 F.2.5); pydicom writes ''."),
    "padding": (
        is_padded,
        "Spaces around a value mean nothing (PS3.5 6.2), in each of several; pydicom strips the last alone.",
    ),
    "unknown in big endian": (
        lambda case: case.turned,
        "A UN value is little endian whatever the object is (PS3.5 6.2.2); pydicom turns it.",
    ),
    "encapsulated pixel data": (
        is_encapsulated,
        "Encapsulated pixel data is OB (PS3.5 A.4), whatever a writer or a missing VR makes of it.",
    ),
    "long unknown values": (
        is_long_unknown,
        "The VR of an attribute in the dictionary is known, however long a value of UN is.",
    ),
    "text for numbers": (
        is_no_number,
        "DS and IS that are no numbers stay text, which PS3.18 F.2.3 allows; pydicom cannot read them.",
    ),
    "an element twice": (
        lambda case: case.path.endswith("TC0323_encap_zero_frag.dcm") and case.tag == "7FE00010",
        "Of two elements with one tag the first counts; with pydicom the last.",
    ),
}


def cases(ours: dict[str, Any], theirs: Dataset, path: str) -> Iterator[Case]:
    """Every attribute in which the two differ, inside of sequences too."""
    tags = {f"{int(tag):08X}" for tag in theirs.keys()}  # noqa: SIM118
    for tag in sorted(tags | ours.keys()):
        mine = ours.get(tag)
        if tag not in tags:
            yield Case(tag, mine, None, False, path)
            continue
        raw = theirs.get_item(int(tag, 16))
        turned = isinstance(raw, RawDataElement) and raw.VR == "UN" and not raw.is_little_endian
        try:
            element = theirs[int(tag, 16)]
            if mine is not None and (mine["vr"], element.VR) == ("SQ", "SQ"):
                items = mine.get("Value", [])
                assert len(items) == len(element.value), (path, tag)
                for one, other in zip(items, element.value, strict=True):
                    yield from cases(one, other, path)
                continue
            # Through the text of it, as it would be sent.
            told = json.loads(json.dumps(element.to_json_dict(None, 0)))
        except (ValueError, TypeError) as error:
            yield Case(tag, mine, error, turned, path)
            continue
        if told != mine:
            yield Case(tag, mine, told, turned, path)


@cites("PS3.18 F.2", "the metadata say what is in the object, as another implementation reads it")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.timeout(300)
def test_the_metadata_of_every_real_file_say_what_pydicom_reads(open_site, real_data, manifest):
    site = open_site(on_duplicate=OnDuplicate.REPLACE)
    met: dict[str, int] = defaultdict(int)
    unexplained: list[str] = []
    read = 0
    for row in manifest:
        content = (real_data / row["path"]).read_bytes()
        stored = site.post(content)
        if stored.status_code not in (200, 202):
            continue
        url = stored.json()["00081199"]["Value"][0]["00081190"]["Value"][0]
        (served,) = site.get(url + "/metadata").json()
        read += 1
        for case in cases(served, pydicom.dcmread(io.BytesIO(content), force=True), row["path"]):
            name = next((name for name, (explains, _) in DIFFERENCES.items() if explains(case)), None)
            if name is None:
                unexplained.append(f"{row['path']} {case.tag}: {case.ours!r:.90} is not {case.theirs!r:.90}")
            else:
                met[name] += 1
            if name == "bulk data" and case.tag != "7FE00010" and row["transfer_syntax"] != EXPLICIT_BE:
                assert case.both is not None
                value = site.get(case.both[0]["BulkDataURI"], "application/octet-stream").content
                if value != base64.b64decode(case.both[1]["InlineBinary"]):
                    unexplained.append(f"{row['path']} {case.tag}: another value behind the URI")
    assert not unexplained, "\n".join(unexplained)
    assert read > 470
    assert met.keys() == DIFFERENCES.keys()  # an excuse that nothing needs is none


@cites("docs/json-model.md", "every difference from pydicom is told to users")
def test_the_differences_are_in_the_documents():
    told = DOCUMENT.read_text()
    assert [name for name in DIFFERENCES if f"**{name}**" not in told] == []
