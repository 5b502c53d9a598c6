"""The walker's DICOM JSON against pydicom's, over every file there is.

pydicom is another reading of the same bytes, not the truth: where it is known to be wrong or to choose
otherwise, the reason stands in `_excused`. Numbers are compared to 1e-6, text without padding.
"""

from __future__ import annotations

import base64
import csv
import functools
import math
import zlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import orjson
import pydicom
import pytest
from pydicom.data import get_charset_files, get_testdata_files
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset

from service.dicom.errors import NotDicom
from service.dicom.header import Walker, read_data_set
from service.dicom.part10 import read_file_head
from service.dicom.record import BASE_SLOT
from service.dicom.syntaxes import Syntax, syntax_of

SHARED = Path(__file__).parents[3] / "shared" / "data"
PADDING = " \0"
Json = dict[str, Any]


def split(content: bytes) -> tuple[Syntax, bytes] | None:
    """Transfer syntax and data set of a file, inflated; `None` where the file, not its data set, is wrong."""
    try:
        head = read_file_head(content)
    except NotDicom:
        return None
    syntax = syntax_of(head.syntax) if head is not None else None
    if head is None or syntax is None:
        return None
    body = content[head.data_offset :]
    if not syntax.deflated:
        return syntax, body
    try:
        return syntax, zlib.decompressobj(-15).decompress(body, 64 << 20)
    except zlib.error:
        return None


def loaded(walker: Walker) -> Json:
    filled = walker.json().replace(BASE_SLOT, b"http://localhost")
    content: Json = orjson.loads(filled)
    return content


def differences(ours: Json, theirs: Dataset, place: str = "") -> Iterator[str]:
    """What the two readings of one data set do not agree on."""
    tags = {f"{tag:08X}" for tag in map(int, theirs.keys())} - {"FFFCFFFC"}
    tags = {tag for tag in tags if not tag.endswith("0000") and not tag.startswith("0002")}
    for tag in sorted(tags ^ ours.keys()):
        if not (tag == "00080005" and tag in ours):
            yield f"{place}{tag} only in {'ours' if tag in ours else 'theirs'}"
    for tag in sorted(tags & ours.keys()):
        if tag == "00080005":
            continue
        where, mine = f"{place}{tag}", ours[tag]
        raw = theirs.get_item(int(tag, 16))
        # UN is little endian whatever the transfer syntax (PS3.5 6.2.2); pydicom swaps it once it is typed.
        swapped = isinstance(raw, RawDataElement) and raw.VR == "UN" and not raw.is_little_endian
        try:
            element = theirs[int(tag, 16)]
        except Exception as error:
            yield f"{where}: {mine!r:.90} is unreadable to pydicom: {error!r:.60}"
            continue
        if element.VR == "SQ" and mine["vr"] == "SQ":
            items = mine.get("Value", [])
            if len(items) != len(element.value):
                yield f"{where}: {len(items)} items, not {len(element.value)}"
            for number, (item, their_item) in enumerate(zip(items, element.value, strict=False), 1):
                yield from differences(item, their_item, f"{where}/{number}/")
            continue
        try:
            rendered = element.to_json_dict(None, 0)
        except Exception as error:
            if not _unwritable(mine, error):
                yield f"{where}: {mine!r:.90} cannot be written by pydicom: {error!r:.60}"
            continue
        if not same(mine, rendered) and not swapped and not _excused(mine, rendered):
            yield f"{where}: {mine!r:.90} is not {rendered!r:.90}"


def same(mine: Json, theirs: Json) -> bool:
    if mine["vr"] != theirs["vr"]:
        return False
    if "InlineBinary" in theirs:
        return "BulkDataURI" in mine or same_bytes(mine.get("InlineBinary", ""), theirs["InlineBinary"])
    if "BulkDataURI" in mine:
        return True
    return same_values(mine.get("Value", []), theirs.get("Value", []))


def same_bytes(mine: str, theirs: str) -> bool:
    return base64.b64decode(mine) == base64.b64decode(theirs)


def same_values(mine: list[Any], theirs: list[Any]) -> bool:
    if not any(value not in (None, "", {}) for value in [*mine, *theirs]):
        return True
    return len(mine) == len(theirs) and all(map(same_value, mine, theirs))


def same_value(mine: Any, theirs: Any) -> bool:
    if mine in (None, "", {}) or theirs in (None, "", {}):
        return mine in (None, "", {}) and theirs in (None, "", {})
    if isinstance(mine, dict) and isinstance(theirs, dict):
        groups = {key: group for key, group in theirs.items() if group.strip(PADDING)}
        return mine.keys() == groups.keys() and all(same_value(mine[key], groups[key]) for key in mine)
    if isinstance(mine, str) and isinstance(theirs, str):
        return mine.strip(PADDING) == theirs.strip(PADDING)
    return math.isclose(float(mine), float(theirs), rel_tol=1e-6)


def _excused(mine: Json, theirs: Json) -> str | None:
    """Why pydicom's rendering is not ours, if for a known reason."""
    if mine.get("BulkDataURI", "").endswith("/7FE00010") and mine["vr"] == "OB":
        return "encapsulated pixel data is OB, whatever VR is written (PS3.5 A.4)"
    if theirs["vr"] == "UN" and len(theirs.get("InlineBinary", "")) * 3 // 4 >= 0xFFFF - 2:
        return "pydicom types long UN values not even if it knows them"
    return None


def _unwritable(mine: Json, error: Exception) -> str | None:
    """Why pydicom fails on a value that we render, if for a known reason."""
    if mine["vr"] in ("IS", "DS") and not all(isinstance(v, int | float | None) for v in mine["Value"]):
        return "text that is not a number stays text (PS3.18 F.2.3.1 allows strings)"
    return None


@functools.cache
def manifest() -> dict[str, dict[str, str]]:
    if not SHARED.exists():
        return {}
    with (SHARED / "MANIFEST.csv").open(encoding="utf-8") as lines:
        return {row["path"]: row for row in csv.DictReader(lines)}


def files() -> dict[str, list[Path]]:
    """Every file to compare, by folder."""
    groups: dict[str, list[Path]] = {}
    for path in manifest():
        groups.setdefault(path.rpartition("/")[0], []).append(SHARED / path)
    groups["pydicom"] = [Path(path) for path in get_testdata_files() if Path(path).is_file()]
    groups["pydicom charset"] = [Path(path) for path in get_charset_files()]
    return groups


# Of two elements with one tag the first counts here, the last with pydicom.
TWICE = {"TC0323_encap_zero_frag.dcm"}

# Data sets of pydicom's that end inside an element or lack their delimiter.
CUT = {"MR_truncated.dcm", "rtplan_truncated.dcm"}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("group", files())
def test_the_json_of_real_files_says_what_pydicom_reads(group: str) -> None:
    found: list[str] = []
    for path in files()[group]:
        content = path.read_bytes()
        parts = split(content)
        if parts is None or path.name in TWICE:
            continue
        try:
            ours = loaded(read_data_set(*parts))
        except NotDicom as refusal:
            if not is_refusable(path):
                found.append(f"{path.name}: {refusal}")
            continue
        theirs = pydicom.dcmread(BytesIO(content), force=True)
        found += [f"{path.name} {line}" for line in differences(ours, theirs)]
    assert found == [], "\n".join(found)


def verdict(path: Path) -> str:
    """What is to become of a file; a sound one has no verdict of its own."""
    if not path.is_relative_to(SHARED):
        return "REJECT" if path.name in CUT else "ACCEPT"
    return manifest()[path.relative_to(SHARED).as_posix()]["expected_verdict"] or "ACCEPT"


def is_refusable(path: Path) -> bool:
    return verdict(path) in ("REJECT", "EITHER")


@pytest.mark.skipif(not SHARED.exists(), reason="the shared data are not here")
def test_broken_element_streams_are_refused() -> None:
    taken: list[str] = []
    for path in map(SHARED.joinpath, manifest()):
        row = manifest()[path.relative_to(SHARED).as_posix()]
        parts = split(path.read_bytes())
        # Where an identifier is missing, nothing need be wrong with the stream.
        if parts is None or verdict(path) != "REJECT" or "mandatory UID" in row["expected_answer"]:
            continue
        try:
            read_data_set(*parts)
        except NotDicom:
            continue
        taken.append(path.name)
    assert taken == []


def test_nearly_all_files_reach_the_walker() -> None:
    paths = [path for group in files().values() for path in group]

    unreadable = [path for path in paths if split(path.read_bytes()) is None]

    assert len(unreadable) < len(paths) / 10
