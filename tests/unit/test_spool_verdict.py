"""What an archive's answer means for an instance that could be kept."""

import orjson
import pytest

from bridge.archive.http1 import ConnectionLost, HttpAnswer
from bridge.spool.verdict import Fate, of_answer, of_error
from service.dicom.errors import UpstreamFailed, UpstreamTimeout
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
