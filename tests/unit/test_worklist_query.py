"""Queries of the worklist: which days they leave, and that hostile ones are bounded."""

import pytest
from pydicom.config import disable_value_validation
from pydicom.dataset import Dataset

from service.dicom.errors import BadRequest
from service.dicom.identifier import read_identifier
from service.dicom.syntaxes import BY_UID, IMPLICIT_LE
from service.dicom.worklist import agreed, lacking, read_worklist_query, start_day
from tests.identifiers import encoded, identifier_of


def asked(**step: str) -> Dataset:
    query, item = Dataset(), Dataset()
    with disable_value_validation():
        for keyword, value in step.items():
            setattr(item, keyword, value)
    query.ScheduledProcedureStepSequence = [item]
    return query


@pytest.mark.parametrize(
    ("date", "days"),
    [
        ("", None),
        ("*", None),
        ("20240115", ("20240115", "20240115")),
        ("20240115-20240117", ("20240115", "20240117")),
        ("20240115-", ("20240115", "")),
        ("-20240117", ("", "20240117")),
    ],
)
def test_the_start_date_leaves_days(date, days):
    query = read_worklist_query(identifier_of(asked(ScheduledProcedureStepStartDate=date)))
    assert query.days == days


@pytest.mark.parametrize(
    ("offered", "answer"),
    [(b"", b""), (b"\1\1\1", b"\1\1\1"), (b"\1\1\1\1\1", b"\1\1\1\0"), (b"\0\0\1\1", b"\0\0\1\0")],
)
def test_fuzzy_matching_is_all_that_is_agreed_to(offered, answer):
    assert agreed(offered) == answer


@pytest.mark.parametrize("item", [{}, {"00400100": 7}, {"00400100": {"vr": "SQ", "Value": ["x"]}}])
def test_an_item_without_a_step_has_no_day_and_lacks_all(item):
    assert start_day(item) == ""
    assert len(lacking(item)) == 9


def test_sequences_nested_without_end_are_refused_or_read():
    query = deepest = Dataset()
    for _ in range(200):
        deepest.ScheduledProcedureStepSequence = [Dataset()]
        deepest = deepest.ScheduledProcedureStepSequence[0]
    with pytest.raises(BadRequest):
        read_identifier(encoded(query), BY_UID[IMPLICIT_LE])
