"""Hostile data sets: whatever the bytes, the walker refuses cleanly or writes valid JSON."""

from __future__ import annotations

import random
import re
import struct
import time
from functools import partial
from pathlib import Path

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.data import get_charset_files, get_testdata_files

from service.dicom.elements import Damaged, encoding_of, fragments_end
from service.dicom.errors import NotDicom
from service.dicom.header import Bulk, End, Found, NeedMore, Skip, Walker, find_value, read_data_set
from service.dicom.memo import Memo
from service.dicom.part10 import read_file_head
from service.dicom.record import BASE_SLOT
from service.dicom.syntaxes import BY_UID, EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE, Syntax
from tests.swiftness import spent_s

SECONDS = 8.0
SEED_BYTES = 50_000
SEEDS = {
    *("CT_small.dcm", "MR_small_bigendian.dcm", "MR_small_implicit.dcm", "badVR.dcm", "rtplan.dcm"),
    *("rtstruct.dcm", "reportsi.dcm", "UN_sequence.dcm", "nested_priv_SQ.dcm", "priv_SQ.dcm", "test-SR.dcm"),
    *("liver_1frame.dcm", "JPEG2000.dcm", "chrH32.dcm", "chrX2.dcm"),
    *("chrKoreanMulti.dcm", "chrSQEncoding.dcm"),
}
# What mutations like to hit: lengths, delimiters, value representations, tags with effects.
TOKENS = (
    b"\xff\xff\xff\xff",
    b"\0\0\0\0",
    b"\xfe\xff\x00\xe0",
    b"\xfe\xff\x0d\xe0\0\0\0\0",
    b"\xfe\xff\xdd\xe0\0\0\0\0",
    b"\x08\x00\x05\x00CS",
    b"\x28\x00\x03\x01US\x02\x00\x01\x00",
    b"SQ\0\0\xff\xff\xff\xff",
    b"UN\0\0\xff\xff\xff\xff",
    b"UN\0\0\x08\0\0\0",
    b"\x1b$B\\\\\x1b(B",
    b"FD\x08\0\0\0\0\0\0\0\xf0\x7f",
    b'\\"\x01\x02',
)


def seeds() -> list[tuple[Syntax, bytes]]:
    """The data sets of small real files."""
    paths = [Path(path) for path in get_testdata_files() + get_charset_files()]
    found = []
    for path in sorted(paths):
        if path.name in SEEDS:
            content = path.read_bytes()
            head = read_file_head(content)
            assert head is not None
            found.append((BY_UID[head.syntax], content[head.data_offset :]))
    assert all(len(body) <= SEED_BYTES for _, body in found)
    return found


def mutated(body: bytes, chance: random.Random) -> bytes:
    content = bytearray(body)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(content) + 1)
        match chance.choice((0, 0, 0, 0, 1, 2, 3, 3, 4)):
            case 0:
                content[at : at + 1] = bytes([chance.randrange(256)])
            case 1:
                del content[at : at + chance.randint(1, 40)]
            case 2:
                content[at:at] = content[chance.randrange(len(content) + 1) :][: chance.randint(1, 200)]
            case 3:
                token = chance.choice(TOKENS)
                content[at : at + len(token)] = token
            case _:
                content[at:at] = chance.choice(TOKENS)
    return bytes(content)


def whole(syntax: Syntax, body: bytes) -> tuple[bytes, list[str]] | None:
    """JSON and findings, or `None` if the data set is refused."""
    try:
        walker = read_data_set(syntax, body)
    except NotDicom:
        return None
    return walker.json(), walker.findings


def in_steps(syntax: Syntax, body: bytes, chance: random.Random) -> tuple[bytes, list[str]] | None:
    """The same, the buffer growing by random steps and dropping what was processed."""
    walker = Walker(syntax, memo=Memo(size_bytes=chance.choice((0, 2000, 1 << 20))))
    start = end = 0  # of the buffer, in the body
    least = 1 + len(body) // 64  # an undefined length is walked anew with each step
    try:
        while True:
            step = walker.walk(body[start:end], final=end == len(body))
            if isinstance(step, End):
                return walker.json(), walker.findings
            if isinstance(step, NeedMore):
                assert step.at_least > end - start - step.position
                start += step.position
                end = min(len(body), max(end + least, start + chance.choice((step.at_least, 5000))))
                continue
            start = behind(syntax, body, start + step.position, step)
            if start > len(body):
                return None
            end = max(start, end)
    except (NotDicom, Damaged):
        return None


def behind(syntax: Syntax, body: bytes, position: int, bulk: Bulk) -> int:
    if bulk.length is not None:
        return position + bulk.length
    return fragments_end(body, position, len(body), encoding_of(syntax))


def check(syntax: Syntax, body: bytes, chance: random.Random) -> None:
    once = whole(syntax, body)
    assert in_steps(syntax, body, chance) == once
    if once is None:
        return
    written, findings = once
    orjson.loads(written.replace(BASE_SLOT, b"http://localhost"))
    assert not re.search(rb"[\x01-\x1f]", written)
    assert len(findings) <= 103
    for path in re.findall(rb'"BulkDataURI":"\x00/bulkdata/([0-9A-F/]+)"', written)[:5]:
        check_place(syntax, body, path, findings)


def check_place(syntax: Syntax, body: bytes, path: bytes, findings: list[str]) -> None:
    """Every BulkDataURI leads to a value, if the way there is not damaged."""
    steps = path.decode().split("/")
    numbers = tuple(int(step) if i % 2 else int(step, 16) for i, step in enumerate(steps))
    found = find_value(body, syntax, numbers, final=True)
    if isinstance(found, Found):
        assert found.length is None or found.position + found.length <= len(body)
    elif found != Skip(None):  # behind encapsulated pixel data only the caller can go on
        assert re.search("damaged|twice|order|no value representation", " ".join(findings))


def test_mutated_real_headers_are_refused_or_make_valid_json_however_they_arrive() -> None:
    chance = random.Random(20240917)
    bodies = seeds()
    assert len(bodies) == len(SEEDS)
    end = time.monotonic() + SECONDS
    slowest = 0.0
    while time.monotonic() < end:
        syntax, body = chance.choice(bodies)
        if chance.random() < 0.1:
            syntax = BY_UID[chance.choice((IMPLICIT_LE, EXPLICIT_LE, EXPLICIT_BE))]
        broken = mutated(body, chance)
        slowest = max(slowest, spent_s(partial(whole, syntax, broken), 0.5))
        check(syntax, broken, chance)
    assert slowest <= 0.5


VRS = st.sampled_from(
    ("AE", "AT", "CS", "DS", "FD", "FL", "IS", "LO", "OB", "OW", "PN", "SL", "SQ", "SS", "ST", "TM", "UC")
    + ("UI", "UL", "UN", "UR", "US", "UT", "UV", "SV", "ZZ", "SQ", "SQ")
)
TAGS = st.sampled_from(
    [0x00080005, 0x00080018, 0x00090010, 0x00091001, 0x00100010, 0x00189810, 0x00280103, 0x00280106]
    + [0x00281101, 0x00283006, 0x0040A730, 0x00880200, 0x7FE00010, 0xFFFCFFFC, 0xFFFEE000, 0xFFFEE00D]
)
LONG = {"OB", "OW", "SQ", "UN", "UT", "UC", "UR", "SV", "UV", "ZZ"}


@st.composite
def elements(draw: st.DrawFn, depth: int = 0) -> bytes:
    """Elements in Explicit VR Little Endian that are sound except for some lengths."""
    written = b""
    for _ in range(draw(st.integers(0, 4))):
        tag, vr = draw(TAGS), draw(VRS)
        value = draw(st.binary(max_size=24))
        if vr in ("SQ", "UN") and depth < 4:
            items = [draw(elements(depth=depth + 1)) for _ in range(draw(st.integers(0, 3)))]
            closed = draw(st.booleans())
            value = b"".join(item_of(item, closed=closed) for item in items)
        length = draw(st.sampled_from([len(value)] * 6 + [0xFFFFFFFF, len(value) + 2]))
        if length == 0xFFFFFFFF:
            value += b"\xfe\xff\xdd\xe0\0\0\0\0"
        written += struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr.encode()
        if vr in LONG:
            written += struct.pack("<HI", 0, length) + value
        else:
            written += struct.pack("<H", length & 0xFFFF) + value
    return written


def item_of(content: bytes, *, closed: bool) -> bytes:
    if closed:
        return b"\xfe\xff\x00\xe0" + struct.pack("<I", len(content)) + content
    return b"\xfe\xff\x00\xe0\xff\xff\xff\xff" + content + b"\xfe\xff\x0d\xe0\0\0\0\0"


@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(body=elements(), seed=st.integers(0, 1 << 30))
def test_made_up_elements_are_refused_or_make_valid_json_however_they_arrive(body: bytes, seed: int) -> None:
    check(BY_UID[EXPLICIT_LE], body, random.Random(seed))


@settings(max_examples=150, deadline=None, database=None)
@given(body=st.binary(max_size=200), uid=st.sampled_from([IMPLICIT_LE, EXPLICIT_LE, EXPLICIT_BE]))
def test_arbitrary_bytes_are_refused_or_make_valid_json(body: bytes, uid: str) -> None:
    check(BY_UID[uid], body, random.Random(1))


def bombs() -> dict[str, bytes]:
    opened = b"\x40\x00\x30\xa7SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    pixels = b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff"
    empty_items = b"\xfe\xff\x00\xe0\0\0\0\0" * 200_000
    falling = b"".join(
        struct.pack("<HH2sH", n >> 16, n & 0xFFFF, b"CS", 0) for n in range(950_000, 900_000, -1)
    )
    return {
        "nested sequences": opened * 100_000,
        "nested unknowns": opened.replace(b"SQ", b"UN") * 100_000,
        "fragments": pixels + empty_items,
        "backslashes": b"\x10\x00\x10\x00UC\0\0" + struct.pack("<I", 2_000_000) + b"\\" * 2_000_000,
        "escapes": b"\x10\x00\x10\x00UT\0\0" + struct.pack("<I", 60_000) + b"\x1b$B" * 20_000,
        "empty items": sequence_of(empty_items),
        "falling tags": sequence_of(item_of(falling, closed=True)),
    }


def sequence_of(items: bytes) -> bytes:
    return b"\x40\x00\x30\xa7SQ\0\0" + struct.pack("<I", len(items)) + items


@pytest.mark.parametrize("name", bombs())
def test_a_header_bomb_costs_linear_time(name: str) -> None:
    body = bombs()[name]
    assert spent_s(lambda: whole(BY_UID[EXPLICIT_LE], body), 4.0) <= 4.0


def test_more_elements_than_the_limit_are_refused() -> None:
    body = sequence_of(b"\xfe\xff\x00\xe0\0\0\0\0" * 1000)

    with pytest.raises(NotDicom):
        Walker(BY_UID[EXPLICIT_LE], element_limit=999).walk(body, final=True)
