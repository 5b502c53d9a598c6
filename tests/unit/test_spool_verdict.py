"""What an archive's answer means for an instance that could be kept."""

import orjson
import pytest

from bridge.archive.http1 import ConnectionLost, HttpAnswer
from bridge.spool.verdict import Fate, Verdict, of_answer, of_error, of_outcome, of_trouble
from service.archive import reasons
from service.archive.port import Outcome, Refused, Stored
from service.dicom.errors import (
    Busy,
    ClassMismatch,
    Duplicate,
    IndexUnavailable,
    NotDicom,
    StoreUnavailable,
    TooLarge,
    UpstreamFailed,
    UpstreamTimeout,
)
from service.dicom.media import Representation
from service.dicom.resource import InstanceKey
from service.web.stored import answer
from tests.dimse.dimse_peers import stow_answer

TABLE: list[tuple[int, bytes, Fate, Fate, int]] = [
    # HTTP, body; the fate while the peer waits, after it was acknowledged, and the status
    (200, orjson.dumps(stow_answer()), Fate.STORED, Fate.STORED, 0),
    (202, orjson.dumps(stow_answer(warning=0xB006)), Fate.STORED, Fate.STORED, 0xB006),
    (409, orjson.dumps(stow_answer(failure=0x0111)), Fate.REFUSED, Fate.REFUSED, 0x0111),
    (202, orjson.dumps(stow_answer(failure=0xC000)), Fate.REFUSED, Fate.REFUSED, 0xC000),
    (409, orjson.dumps(stow_answer(failure=0xA700)), Fate.REFUSED, Fate.DOUBTFUL, 0xA700),
    (413, b"", Fate.REFUSED, Fate.REFUSED, 0xA700),
    (409, b"", Fate.REFUSED, Fate.REFUSED, 0x0110),
    (400, b"", Fate.REFUSED, Fate.REFUSED, 0x0110),
    (405, b"", Fate.REFUSED, Fate.REFUSED, 0x0110),
    (415, b"", Fate.REFUSED, Fate.REFUSED, 0x0110),
    (200, b"<html>Sign in</html>", Fate.LATER, Fate.LATER, 0x0110),
    (202, b"{}", Fate.LATER, Fate.LATER, 0x0110),
    (204, b"", Fate.LATER, Fate.LATER, 0x0110),
    (302, b"", Fate.LATER, Fate.LATER, 0x0110),
    (401, b"", Fate.LATER, Fate.LATER, 0x0124),
    (403, b"", Fate.LATER, Fate.LATER, 0x0124),
    (404, b"", Fate.LATER, Fate.LATER, 0x0110),
    (429, b"", Fate.LATER, Fate.LATER, 0xA700),
    (503, b"", Fate.LATER, Fate.LATER, 0xA700),
    (507, b"", Fate.LATER, Fate.LATER, 0xA700),
    (500, b"", Fate.DOUBTFUL, Fate.DOUBTFUL, 0x0110),
    (502, b"", Fate.DOUBTFUL, Fate.DOUBTFUL, 0xA700),
]


@pytest.mark.parametrize(("http", "body", "waiting", "acknowledged", "status"), TABLE)
def test_answers(http, body, waiting, acknowledged, status):
    answer = HttpAnswer(http, {}, body)

    assert of_answer(answer, acknowledged=False).fate is waiting
    assert of_answer(answer, acknowledged=True).fate is acknowledged
    assert of_answer(answer, acknowledged=True).status == status


@pytest.mark.parametrize(("http", "setting"), [(403, "TOKEN_FILE"), (404, "URL"), (410, "URL")])
def test_what_an_operator_may_have_set_wrongly_is_named(http, setting):
    assert f"ISTHMUS_ARCHIVE_{setting}" in of_answer(HttpAnswer(http, {}, b""), acknowledged=False).because


@pytest.mark.parametrize(
    ("error", "fate"),
    [
        (UpstreamFailed("The archive cannot be reached."), Fate.LATER),
        (UpstreamTimeout("The archive did not answer in time."), Fate.DOUBTFUL),
        (ConnectionLost("The archive closed the connection."), Fate.DOUBTFUL),
    ],
)
def test_the_lack_of_an_answer(error, fate):
    assert of_error(error).fate is fate
    assert of_error(error).because


KEY = InstanceKey("1.2", "1.3", "1.4")
OUTCOMES: list[Outcome] = [
    Stored(KEY, "1.2.840.10008.5.1.4.1.1.2"),
    Stored(KEY, "1.2.840.10008.5.1.4.1.1.2", already=True),
    Stored(KEY, "1.2.840.10008.5.1.4.1.1.2", reasons.DISCARDED, already=True),
    Stored(KEY, "1.2.840.10008.5.1.4.1.1.2", reasons.MISMATCHED),
    *(
        Refused(reasons.failure_reason(error), str(error), "1.2", "1.4", transient)
        for error, transient in (
            (NotDicom("It is cut off."), False),
            (ClassMismatch("A UID is missing."), False),
            (Duplicate("It is there."), False),
            (TooLarge("It is too large."), False),
            (Busy("Too many."), True),
            (StoreUnavailable("The disk is full."), True),
            (IndexUnavailable("The index is locked."), True),
        )
    ),
]


@pytest.mark.parametrize("outcome", OUTCOMES)
@pytest.mark.parametrize("acknowledged", [False, True])
def test_an_outcome_of_our_own_means_what_the_services_answer_about_it_does(outcome, acknowledged):
    response = answer([outcome], Representation("application/dicom+json"), "", {})
    by_http = of_answer(HttpAnswer(response.status_code, {}, bytes(response.body)), acknowledged=acknowledged)

    told: Verdict = of_outcome(outcome)

    assert (told.fate, told.status) == (by_http.fate, by_http.status)


def test_a_store_that_is_not_to_be_had_says_nothing_of_the_instance():
    assert of_trouble(StoreUnavailable("The disk is full.")).fate is Fate.LATER
    assert of_trouble(StoreUnavailable("The disk is full.")).status == 0xA700
    assert of_trouble(Busy("Too many.")).fate is Fate.LATER
    assert of_trouble(UpstreamTimeout("It hangs.")).fate is Fate.DOUBTFUL


def test_the_end_of_who_was_at_it_may_be_of_the_instance():
    assert of_trouble(UpstreamFailed("It ended at its work.")).fate is Fate.DOUBTFUL
    assert of_trouble(UpstreamFailed("It ended at its work.")).status == 0xA700
