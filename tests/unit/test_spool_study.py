"""The study of an instance, found in the first bytes of its data set."""

import random
import zlib

import pytest

from bridge.spool.study import study_of
from service.dicom.part10 import read_file_head
from service.dicom.syntaxes import BY_UID, EXPLICIT_LE
from tests.making import a_data_set, a_file

DEFLATED = "1.2.840.10008.1.2.1.99"
IMPLICIT_LE = "1.2.840.10008.1.2"
EXPLICIT_BE = "1.2.840.10008.1.2.2"


def a_data_set_in(syntax: str, study: str) -> bytes:
    content = a_file(a_data_set(study=study), syntax=syntax)
    head = read_file_head(content)
    assert head is not None
    return content[head.data_offset :]


@pytest.mark.parametrize("syntax", [EXPLICIT_LE, IMPLICIT_LE])
def test_it_is_found_in_each_transfer_syntax(syntax):
    assert study_of(a_data_set_in(syntax, "1.2.840.77"), syntax) == "1.2.840.77"


def test_it_is_found_in_a_deflated_data_set_though_that_is_cut():
    plain = a_data_set_in(EXPLICIT_LE, "1.2.840.77") + random.Random(1).randbytes(100_000)
    deflated = zlib.compress(plain, wbits=-15)

    assert study_of(deflated[: len(deflated) // 2], DEFLATED) == "1.2.840.77"


@pytest.mark.parametrize("head", [b"", b"\0", b"\x20\x00\x0d\x00UI", b"\xff" * 64, b"garbage" * 99])
@pytest.mark.parametrize("syntax", [EXPLICIT_LE, IMPLICIT_LE, DEFLATED, EXPLICIT_BE])
def test_where_it_cannot_be_read_there_is_none(head, syntax):
    assert study_of(head, syntax) == ""


@pytest.mark.parametrize("value", [b"", b"..", b"1.2/../3", b"a", b"1" * 66])
def test_what_is_no_uid_is_no_study(value):
    element = b"\x20\x00\x0d\x00UI" + len(value).to_bytes(2, "little") + value

    assert study_of(element, EXPLICIT_LE) == ""


def test_no_bytes_are_too_odd():
    chance = random.Random(20261122)
    sound = a_data_set_in(EXPLICIT_LE, "1.2.3")
    for _ in range(2000):
        odd = bytearray(sound[: chance.randrange(len(sound))])
        for _ in range(chance.randint(0, 6)):
            if odd:
                odd[chance.randrange(len(odd))] = chance.randrange(256)
        for syntax in (EXPLICIT_LE, IMPLICIT_LE, EXPLICIT_BE, DEFLATED):
            found = study_of(bytes(odd), BY_UID[syntax].uid)
            assert len(found) <= 64
