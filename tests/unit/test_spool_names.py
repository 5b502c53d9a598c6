"""The files of the spool: their names say what they are, whatever the UIDs look like."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.spool.entry import Entry, detained, read_detained, read_entry
from service.dicom.resource import is_uid

uids = st.text("0123456789.", min_size=1, max_size=64).filter(is_uid)


@given(st.integers(1, (1 << 63) - 1), st.one_of(st.just(""), uids), uids, st.integers(0, 1 << 50))
def test_an_entry_is_read_back_from_its_name(sequence, study, instance, size):
    read = read_entry(Entry(sequence, study, instance, size).name, size)

    assert read is not None
    assert (read.sequence, read.study, read.instance, read.size_bytes) == (sequence, study, instance, size)


@given(uids, uids, st.integers(0, 10**11), st.integers(0, 999), st.integers(0, 0xFFFF))
def test_a_detained_instance_is_read_back_from_its_name(study, instance, at, http, reason):
    held = detained(Entry(7, study, instance, 5), at=at, http=http, reason=reason)

    assert read_detained(held.name, 5) == held
    assert read_entry(held.name, 5) is None
    assert held.entry().name == Entry(7, study, instance, 5).name
    assert len(held.name) < 255


def test_names_are_in_the_order_of_arrival():
    numbers = [random.Random(1).randrange(1 << 62) for _ in range(100)]

    names = sorted(Entry(number, "1.2", "1.3", 0).name for number in numbers)

    assert [int(name[:19]) for name in names] == sorted(numbers)


@pytest.mark.parametrize(
    "name", ["", ".dcm", "1_.dcm", "x_1_2.dcm", "1_1_.dcm", "1_1_2.part", "1_1_2.dcm\n", "1_1_../2.dcm"]
)
def test_other_names_are_none_of_ours(name):
    assert read_entry(name, 0) is None
    assert read_detained(name, 0) is None
