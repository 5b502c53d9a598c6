"""Text as long as a request's head may be: it is read in a moment, whatever it is made of."""

import ipaddress
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import pytest
from starlette.datastructures import Headers

from service.dicom.dictionary import private_vr_of
from service.dicom.errors import ArchiveError
from service.dicom.media import (
    DICOM_JSON,
    Representation,
    content_type,
    decoded_plus,
    negotiate,
    parse_accept,
)
from service.dicom.query import Query
from service.dicom.resource import Level
from service.dicom.scan import Scan
from service.dicom.selecting import Selection
from service.dicom.text import character_set
from service.dicom.values import date, date_time, number
from service.dicom.values import time as time_of_day
from service.web.conditional import is_unchanged, requested_range, require_match
from service.web.proxies import forwarded
from tests.making import a_data_set, a_file, add_pixels
from tests.swiftness import spent_s

LENGTH = 60_000
AT_MOST_S = 0.5  # of processor time; anything quadratic takes many times as long
PIECES = (
    "0", "1", " ", "-", ",", ";", "=", "a=", "*", "?", "^", "\\", '"', '\\"', '",', "a ", "a/b,", "a/b; c=",
    "1.2,", "20200101-", "00100010.", "PatientName,", "é", "\u0300", "bytes=",
)  # fmt: skip
HEADS = ("", "bytes=", "bytes=1-", "a/b", "a/b; c=", 'a/b; c="', "for=", "0.", "-")
TAILS = ("", "x", "1-2")
TEXTS = [head + piece * (LENGTH // len(piece)) + tail for head in HEADS for piece in PIECES for tail in TAILS]
PROXY = (ipaddress.ip_network("10.0.0.1/32"),)
KEYS = ("PatientName", "InstanceNumber", "StudyDate", "StudyTime", "AcquisitionDateTime", "StudyInstanceUID",
        "Modality", "includefield", "orderby", "limit", "fuzzymatching", "TimezoneOffsetFromUTC")  # fmt: skip


def searched(key: str) -> Callable[[str], object]:
    return lambda text: Query.from_url(Level.INSTANCE, [(key, text)])


READERS: dict[str, Callable[[str], object]] = {
    "Accept": lambda text: negotiate(parse_accept([text]), [Representation(DICOM_JSON)]),
    "accept": decoded_plus,
    "Content-Type": content_type,
    "Range": lambda text: requested_range({"range": text}, 100, '"tag"'),
    "If-Match": lambda text: require_match({"if-match": text}, '"tag"'),
    "If-None-Match": lambda text: is_unchanged({"if-none-match": text}, '"tag"'),
    "Forwarded": lambda text: forwarded(
        "10.0.0.1", Headers({"forwarded": text.encode().decode("latin-1")}), PROXY
    ),
    "metadata's includefield": lambda text: Selection.from_url([("includefield", text)]),
    "a number": number,
    "a date": date,
    "a time": time_of_day,
    "a date-time": date_time,
    **{key: searched(key) for key in KEYS},
}


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
def test_no_text_takes_long_to_read(reader):
    def read(text: str) -> None:
        with suppress(ArchiveError):
            reader(text)

    for text in TEXTS:
        taken = spent_s(partial(read, text), AT_MOST_S)
        assert taken <= AT_MOST_S, f"{text[:20]}…{text[-5:]}: {taken:.1f} s"


def test_a_character_set_of_any_length_is_read_in_a_moment():
    for value in (b"\\" * (8 << 20), b"ISO_IR 100\\" * (1 << 20), b" " * (8 << 20)):
        assert spent_s(partial(character_set, value), AT_MOST_S) <= AT_MOST_S
        assert not character_set(value)[1]


def test_names_that_nobody_knows_are_not_remembered():
    tracemalloc.start()
    try:
        for number in range(500):
            assert private_vr_of(f"{number:060000}", 0x00091001) is None
            character_set(f"{number:060000}".encode())
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 2 << 20  # of 60 MB


@pytest.mark.filterwarnings("ignore")  # pydicom's, about the length
def test_a_photometric_interpretation_is_as_long_as_a_code_may_be():
    scan = Scan(header_limit=1 << 20)
    made = add_pixels(a_data_set(), [bytes(32)], photometric="M" * 60_000)
    scan.push(memoryview(a_file(made)))
    shape = scan.finish().shape
    scan.close()
    assert shape is not None and shape.photometric == "M" * 16
