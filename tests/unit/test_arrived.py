"""What an instance of a PACS tells of itself by the beginning of its data set, against pydicom."""

import io
import itertools
import random
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from bridge.pacs.arrived import Arrived, held_as
from service.dicom.errors import NotDicom
from service.dicom.part10 import read_file_head
from service.dicom.resource import InstanceKey, is_uid
from service.dicom.syntaxes import BY_UID, DEFLATED, EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE
from tests.making import a_data_set, a_file, add_pixels
from tests.mutating import mutated

STUDY, SERIES, INSTANCE = "1.2.3", "1.2.3.4", "1.2.3.4.5"
OTHER = "9.9.9"
KEY = InstanceKey(STUDY, SERIES, INSTANCE)
BOTH = (EXPLICIT_LE, IMPLICIT_LE)
MUTATIONS = 3000


def taken_apart(content: bytes) -> tuple[bytes, bytes, str] | None:
    """Head, data set and transfer syntax of a file; `None` where it has not got these."""
    try:
        head = read_file_head(content)
    except NotDicom:
        return None
    if head is None or head.syntax not in BY_UID:
        return None
    return content[: head.data_offset], content[head.data_offset :], head.syntax


def arrived(content: bytes, size: int = 1000, instance: str = INSTANCE) -> Arrived | None:
    """A file as it comes from a PACS, its data set in blocks of `size`."""
    found = taken_apart(content)
    if found is None:
        return None
    head, rest, syntax = found
    blocks = [rest[at : at + size] for at in range(0, len(rest), size)]
    return Arrived([head, *blocks], len(content), "", instance, syntax)


def key_of(content: bytes, size: int = 1000) -> InstanceKey | None:
    come = arrived(content, size)
    assert come is not None
    return come.key


def an_instance(**attributes: Any) -> Dataset:
    return a_data_set(study=STUDY, series=SERIES, instance=INSTANCE, **attributes)


def an_item() -> Dataset:
    """An item that names another study and series."""
    item = Dataset()
    item.StudyInstanceUID, item.SeriesInstanceUID = OTHER, OTHER + ".1"
    return item


def undefined(made: Dataset, keyword: str) -> Dataset:
    """`made` with a sequence, and its items, of undefined length."""
    made[keyword].is_undefined_length = True
    for item in made[keyword].value:
        item.is_undefined_length_sequence_item = True
    return made


def a_sequence_before(defined: bool) -> Dataset:
    made = an_instance(ReferencedStudySequence=Sequence([an_item(), an_item()]))
    return made if defined else undefined(made, "ReferencedStudySequence")


def real_files(folder: Path, manifest: list[dict[str, str]]) -> Iterator[tuple[str, bytes]]:
    for row in manifest:
        path = folder / row["path"]
        if path.suffix == ".dcm" and path.exists():
            yield row["path"], path.read_bytes()


def read_by_pydicom(content: bytes) -> tuple[str, str] | None:
    try:
        made = pydicom.dcmread(io.BytesIO(content), force=True, stop_before_pixels=True)
        return str(made.get("StudyInstanceUID", "")), str(made.get("SeriesInstanceUID", ""))
    except Exception:  # whatever it is that pydicom cannot read
        return None


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("size", [64, 16 << 10])
def test_every_real_file_is_of_the_study_and_series_that_pydicom_reads_or_of_none(
    real_data: Path, manifest: list[dict[str, str]], size: int
) -> None:
    seen = known = 0
    for path, content in real_files(real_data, manifest):
        come = arrived(content, size)
        key = come.key if come is not None else None
        if come is None:
            continue
        seen += 1
        if key is None:
            continue
        known += 1
        assert (key.study, key.series) == read_by_pydicom(content), path
        assert key.instance == INSTANCE
    assert seen > 300
    assert known > 0.8 * seen


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_well_formed_real_files_in_the_usual_syntaxes_are_known(
    real_data: Path, manifest: list[dict[str, str]]
) -> None:
    missed = []
    for row in manifest:
        path = real_data / row["path"]
        usual = row["transfer_syntax"] in BOTH and row["has_all_uids"] == "yes"
        if usual and not row["expected_verdict"] and path.exists():
            come = arrived(path.read_bytes())
            if come is not None and come.key is None:
                missed.append(row["path"])
    assert missed == []


@pytest.mark.parametrize("syntax", BOTH)
@pytest.mark.parametrize("size", [1, 7, 100, 1 << 20])
def test_the_usual_instance_is_known_however_it_is_cut(syntax: str, size: int) -> None:
    content = a_file(add_pixels(an_instance(), [bytes(32)]), syntax)

    assert key_of(content, size) == KEY


@pytest.mark.parametrize("syntax", BOTH)
@pytest.mark.parametrize("defined", [True, False], ids=["defined", "undefined"])
def test_what_a_sequence_names_is_not_taken_for_the_instance_s_own(syntax: str, defined: bool) -> None:
    assert key_of(a_file(a_sequence_before(defined), syntax)) == KEY


@pytest.mark.parametrize("syntax", BOTH)
@pytest.mark.parametrize("defined", [True, False], ids=["defined", "undefined"])
@pytest.mark.parametrize("without", ["StudyInstanceUID", "SeriesInstanceUID"])
def test_an_instance_of_which_only_a_sequence_names_study_and_series_is_of_none(
    syntax: str, defined: bool, without: str
) -> None:
    made = a_sequence_before(defined)
    del made[without]

    assert key_of(a_file(made, syntax)) is None


@pytest.mark.parametrize("syntax", BOTH)
@pytest.mark.parametrize("defined", [True, False], ids=["defined", "undefined"])
def test_private_elements_before_its_study_are_passed_over(syntax: str, defined: bool) -> None:
    made = an_instance()
    block = made.private_block(0x0009, "OURS", create=True)
    block.add_new(0x01, "OB", b"\x20\x00\x0d\x00UI\x06\x009.9.9\0")
    block.add_new(0x02, "SQ", Sequence([an_item()]))
    if not defined:
        made[block.get_tag(0x02)].is_undefined_length = True

    assert key_of(a_file(made, syntax)) == KEY


@pytest.mark.parametrize("syntax", BOTH)
def test_what_lies_behind_the_first_64_kib_is_not_looked_for(syntax: str) -> None:
    made = an_instance()
    made.private_block(0x0009, "OURS", create=True).add_new(0x01, "OB", bytes(70_000))

    assert key_of(a_file(made, syntax)) is None


@pytest.mark.parametrize("syntax", BOTH)
def test_a_uid_that_the_head_cuts_is_not_taken_for_a_shorter_one(syntax: str) -> None:
    content = a_file(an_instance(), syntax)
    found = taken_apart(content)
    assert found is not None
    head, rest, _ = found
    at = rest.index(SERIES.encode()) if syntax == IMPLICIT_LE else rest.rindex(SERIES.encode() + b"\0")

    for cut in range(at - 12, at + len(SERIES) + len(SERIES) % 2):
        assert Arrived([head, rest[:cut]], len(content), "", INSTANCE, syntax).key is None, cut


def test_a_deflated_instance_is_not_looked_at() -> None:
    head, rest, _ = taken_apart(a_file(an_instance())) or (b"", b"", "")
    packing = zlib.compressobj(wbits=-15)
    packed = packing.compress(rest) + packing.flush()

    for blocks in ([head, packed], [head, rest]):
        assert Arrived(blocks, 1, "", INSTANCE, DEFLATED).key is None


def test_a_big_endian_instance_is_known_or_of_none() -> None:
    made = add_pixels(an_instance(), [bytes(32)])

    assert key_of(a_file(made, EXPLICIT_BE)) in (KEY, None)


@pytest.mark.parametrize("uid", ["", "1.2\\3.4", "..", "a.b", "1.2/../3", "1" * 65, "1.2 3"])
@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID"])
@pytest.mark.parametrize("syntax", BOTH)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_is_no_uid_is_no_study_and_no_series(uid: str, keyword: str, syntax: str) -> None:
    content = a_file(an_instance(), syntax)
    element = 0x000D if keyword == "StudyInstanceUID" else 0x000E
    value = uid.encode() + b"\0" * (len(uid) % 2)
    own = STUDY if element == 0x000D else SERIES
    assert own != uid

    assert key_of(rewritten(content, element, value, syntax)) is None


def rewritten(content: bytes, element: int, value: bytes, syntax: str) -> bytes:
    """A file of which an element of group 0020 has another value."""
    tag = struct.pack("<HH", 0x0020, element)
    at = content.index(tag)
    short = syntax != IMPLICIT_LE
    (length,) = struct.unpack_from("<H" if short else "<L", content, at + (6 if short else 4))
    head = tag + (b"UI" + struct.pack("<H", len(value)) if short else struct.pack("<L", len(value)))
    return content[:at] + head + value + content[at + 8 + length :]


@pytest.mark.parametrize("padding", [b"\0", b" ", b"\0\0\0"])
@pytest.mark.parametrize("syntax", BOTH)
def test_a_uid_is_read_without_its_padding(padding: bytes, syntax: str) -> None:
    content = a_file(an_instance(), syntax)

    assert key_of(rewritten(content, 0x000D, STUDY.encode() + padding, syntax)) == KEY


@pytest.mark.parametrize("blocks", [[], [b""], [b"\x20\x00"], [b"\x20\x00\x0d\x00UI\xff\xff"], [bytes(40)]])
@pytest.mark.parametrize("syntax", [*BOTH, EXPLICIT_BE, DEFLATED])
def test_hardly_anything_is_of_no_study(blocks: list[bytes], syntax: str) -> None:
    assert Arrived([b"head", *blocks], 4, "", INSTANCE, syntax).key is None


@pytest.mark.parametrize("syntax", [*BOTH, EXPLICIT_BE])
def test_damaged_beginnings_are_of_some_uid_or_of_none(syntax: str) -> None:
    chance = random.Random(syntax)
    head, rest, _ = taken_apart(a_file(a_sequence_before(defined=False), syntax)) or (b"", b"", "")
    for _ in range(MUTATIONS):
        damaged = mutated(rest, chance)
        blocks = [damaged[at : at + 50] for at in range(0, len(damaged), 50)]
        key = Arrived([head, *blocks], 1, "", INSTANCE, syntax).key
        if key is not None:
            assert is_uid(key.study) and is_uid(key.series)


def test_damaged_beginnings_of_real_files_are_of_some_uid_or_of_none(
    real_data: Path, manifest: list[dict[str, str]]
) -> None:
    chance = random.Random(1)
    for path, content in itertools.islice(real_files(real_data, manifest), 0, None, 8):
        found = taken_apart(content)
        if found is None:
            continue
        head, rest, syntax = found
        for _ in range(40):
            key = Arrived([head, mutated(rest[:8000], chance)], 1, "", INSTANCE, syntax).key
            assert key is None or (is_uid(key.study) and is_uid(key.series)), path


@pytest.mark.parametrize("syntax", BOTH)
def test_any_cut_of_an_instance_is_its_own_or_of_none(syntax: str) -> None:
    head, rest, _ = taken_apart(a_file(a_sequence_before(defined=False), syntax)) or (b"", b"", "")
    found = {Arrived([head, rest[:cut]], 1, "", INSTANCE, syntax).key for cut in range(len(rest) + 1)}

    assert found == {KEY, None}


def test_what_is_said_of_placed_instances_tells_them_apart() -> None:
    come, again = (arrived(a_file(an_instance())) for _ in range(2))
    assert come is not None and again is not None
    one, other = (
        held_as(each, KEY, f"studies/1.2.3/1.2.3.4/1.2.3.4.5.{n}.dcm") for n, each in enumerate((come, again))
    )

    assert other.row < one.row < 0
    assert one.digest != other.digest
    assert (one.size, one.syntax, one.data_offset) == (come.size_bytes, EXPLICIT_LE, len(come.blocks[0]))
    assert one.key == other.key == KEY
