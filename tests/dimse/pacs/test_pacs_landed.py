"""A series or study of a PACS leaves when its bytes are there; what they are is found out afterwards."""

import contextlib
import io
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2 as httpx
import pytest

from service.dicom.syntaxes import EXPLICIT_LE, IMPLICIT_LE
from tests.dimse.committing import unused_port
from tests.dimse.dimse_peers import PATIENCE_S
from tests.dimse.pacs.facing import GET, JSON, Pacs, facing
from tests.dimse.pacs.landed import (
    ANY,
    DEFAULT,
    JPEG,
    ON_SERIES,
    ON_STUDY,
    OTHER,
    PIXELS,
    RLE,
    SERIES,
    STUDY,
    Gate,
    Halting,
    asked,
    asking,
    behind,
    came,
    data_of,
    gate,
    in_jpeg,
    in_rle,
    meta,
    named,
    sent_by,
    some,
    syntaxes,
)
from tests.reading import data_set, parts_of

__all__ = ["gate"]


@pytest.mark.parametrize("accept", [ANY, DEFAULT], ids=["any", "default"])
@pytest.mark.parametrize("path", [ON_SERIES, ON_STUDY], ids=["series", "study"])
def test_what_a_pacs_sent_leaves_before_it_is_entered_byte_for_byte(
    tmp_path: Path, gate: Gate, path: str, accept: str
) -> None:
    pacs = Pacs(some() + some(OTHER, 3))
    with pacs.serving(), behind(gate, pacs, tmp_path) as face:
        answer = face.get(path, accept)
        before = list(gate.entered)

    assert answer.status_code == 200
    assert before == []
    assert came(answer) == sent_by(pacs, lambda one: path == ON_STUDY or one.SeriesInstanceUID == SERIES)
    assert syntaxes(answer) == {EXPLICIT_LE}


def test_metadata_that_are_asked_for_meanwhile_wait_and_are_right(tmp_path: Path, gate: Gate) -> None:
    pacs = Pacs(some())
    with pacs.serving(), behind(gate, pacs, tmp_path) as face:
        objects = face.get(ON_SERIES, ANY)
        with asking(asked(face, f"{ON_SERIES}/metadata")) as (metadata,):
            assert gate.reached.wait(PATIENCE_S)
            waited = not metadata.done()
            gate.opened.set()
            answer = metadata.result(PATIENCE_S)

    assert objects.status_code == 200
    assert waited
    assert meta(answer) == (200, set(sent_by(pacs)))
    assert "Warning" not in answer.headers
    assert pacs.count("GET") == 1


@pytest.mark.parametrize(
    ("part", "accept"),
    [
        (f"{ON_SERIES}/instances/{SERIES}.1/metadata", JSON),
        (f"{ON_SERIES}/instances/{SERIES}.1", "application/dicom"),
        (f"{ON_SERIES}/instances/{SERIES}.1/frames/1", "*/*"),
        (f"{ON_SERIES}/instances/{SERIES}.1/rendered", "image/jpeg"),
    ],
    ids=["metadata", "instance", "frame", "rendered"],
)
@pytest.mark.parametrize("path", [ON_SERIES, ON_STUDY], ids=["series", "study"])
def test_a_part_that_is_asked_for_is_answered_while_the_rest_is_on_its_way(
    tmp_path: Path, path: str, part: str, accept: str
) -> None:
    pacs = Halting(some())
    with pacs.serving(), facing(pacs.port, tmp_path) as face, asking(asked(face, path, ANY)) as (whole,):
        try:
            pacs.wait_for(lambda: pacs.count("HALT"))
            early = face.get(part, accept)
            held_up = not whole.done()
        finally:
            pacs.going_on.set()
        answer = whole.result(PATIENCE_S)

    assert early.status_code == 200
    assert held_up
    assert came(answer) == sent_by(pacs)
    assert pacs.count("GET") == 1


def test_metadata_of_all_hurry_the_series_too(tmp_path: Path, gate: Gate) -> None:
    pacs = Halting(some())
    with (
        pacs.serving(),
        behind(gate, pacs, tmp_path) as face,
        asking(asked(face, ON_SERIES, ANY)) as (whole,),
        contextlib.ExitStack() as going_on,
    ):
        going_on.callback(pacs.going_on.set)
        going_on.callback(gate.opened.set)
        pacs.wait_for(lambda: pacs.count("HALT"))
        with asking(asked(face, f"{ON_SERIES}/metadata")) as (metadata,):
            early = gate.reached.wait(PATIENCE_S)  # though one instance has not come
            going_on.close()
            answers = metadata.result(PATIENCE_S), whole.result(PATIENCE_S)

    assert early
    assert meta(answers[0]) == (200, set(sent_by(pacs)))
    assert came(answers[1]) == sent_by(pacs)
    assert pacs.count("GET") == 1


def decoded(answer: httpx.Response) -> list[bytes]:
    return [data_set(part.content).PixelData for part in parts_of(answer)]


def test_what_is_stored_implicitly_leaves_explicitly(tmp_path: Path) -> None:
    pacs = Pacs(some(syntax=IMPLICIT_LE))
    with pacs.serving(), facing(pacs.port, tmp_path) as face:
        answers = [face.get(ON_SERIES, accept) for accept in (DEFAULT, ANY, DEFAULT)]

    for answer in answers:
        assert answer.status_code == 200
        assert syntaxes(answer) == {EXPLICIT_LE}
        assert {named(part) for part in parts_of(answer)} == set(sent_by(pacs))
        assert decoded(answer) == [PIXELS] * 6
    assert pacs.count("GET") == 1


def test_what_is_stored_compressed_is_decoded_where_nothing_else_is_asked_for(tmp_path: Path) -> None:
    pacs = Pacs(in_rle())
    with pacs.serving(), facing(pacs.port, tmp_path) as face:
        first, second = (face.get(ON_SERIES, DEFAULT) for _ in range(2))

    assert syntaxes(first) == {EXPLICIT_LE}
    assert decoded(first) == [PIXELS] * 3
    assert first.content == second.content


def test_what_has_lost_something_leaves_as_it_came_only_where_that_is_named(tmp_path: Path) -> None:
    for number, (accept, syntax) in enumerate(
        ((DEFAULT, EXPLICIT_LE), (f"{DEFAULT}; transfer-syntax={JPEG}", JPEG), (ANY, JPEG))
    ):
        pacs = Pacs(in_jpeg())
        with pacs.serving(), facing(pacs.port, tmp_path / str(number)) as face:
            first, second = (face.get(ON_SERIES, accept) for _ in range(2))
        assert (syntaxes(first), syntaxes(second)) == ({syntax}, {syntax})
        assert came(first) == came(second)


def test_what_is_stored_compressed_leaves_as_it_came_where_anything_will_do(
    tmp_path: Path, gate: Gate
) -> None:
    pacs = Pacs(in_rle())
    with pacs.serving(), behind(gate, pacs, tmp_path) as face:
        answers = [face.get(ON_SERIES, accept) for accept in (ANY, f"{DEFAULT}; transfer-syntax={RLE}")]
        assert gate.entered == []

    for answer in answers:
        assert came(answer) == sent_by(pacs)
        assert syntaxes(answer) == {RLE}


@pytest.mark.parametrize(
    ("stored", "accept", "syntax"),
    [
        ("rle", f"{DEFAULT}; transfer-syntax={EXPLICIT_LE}; q=0.9, {DEFAULT}; transfer-syntax={RLE}; q=0.5",
         EXPLICIT_LE),
        ("rle", f"{DEFAULT}; transfer-syntax={EXPLICIT_LE}; q=0.5, {DEFAULT}; transfer-syntax={RLE}; q=0.9",
         RLE),
        ("rle", f"{ANY}; q=0.5, {DEFAULT}; transfer-syntax={EXPLICIT_LE}", EXPLICIT_LE),
        ("plain", f"{ANY}; q=0.5, {DEFAULT}; transfer-syntax={RLE}", RLE),
        ("plain", f"{DEFAULT}; transfer-syntax={RLE}; q=0.2, {DEFAULT}", EXPLICIT_LE),
        ("plain", f"{ANY}, {DEFAULT}; transfer-syntax={RLE}", RLE),
        ("rle", f"{ANY}, {DEFAULT}; transfer-syntax={EXPLICIT_LE}", EXPLICIT_LE),
    ],
)  # fmt: skip
def test_the_syntax_that_is_wanted_most_is_sent(
    tmp_path: Path, stored: str, accept: str, syntax: str
) -> None:
    pacs = Pacs(in_rle() if stored == "rle" else some(count=3))
    with pacs.serving(), facing(pacs.port, tmp_path) as face:
        first, second = (face.get(ON_SERIES, accept) for _ in range(2))

    assert (first.status_code, syntaxes(first)) == (200, {syntax})
    assert syntaxes(second) == {syntax}
    assert came(first) == came(second)


def test_a_type_that_cannot_be_had_is_not_acceptable(tmp_path: Path) -> None:
    pacs = Pacs(some())
    with pacs.serving(), facing(pacs.port, tmp_path) as face:
        answers = [face.get(ON_SERIES, 'multipart/related; type="video/mp4"').status_code for _ in range(2)]

    assert answers == [406, 406]


def test_the_second_answer_is_of_the_cache_and_has_the_same_files(tmp_path: Path) -> None:
    pacs = Pacs(some())
    with pacs.serving(), facing(pacs.port, tmp_path) as face:
        first = face.get(ON_SERIES, ANY)
        metadata = face.get(f"{ON_SERIES}/metadata")
        second = face.get(ON_SERIES, ANY)

    files = [{named(part): part.content for part in parts_of(answer)} for answer in (first, second)]
    assert files[0] == files[1]
    assert set(files[0]) == set(sent_by(pacs))
    assert meta(metadata) == (200, set(files[0]))
    assert pacs.count("GET") == 1


def test_the_files_come_in_the_order_in_which_the_pacs_sends_them(tmp_path: Path) -> None:
    pacs = Pacs(some()[::-1])
    with pacs.serving(), facing(pacs.port, tmp_path) as face:
        first, second = (face.get(ON_SERIES, ANY) for _ in range(2))

    assert [named(part) for part in parts_of(first)] == sorted(sent_by(pacs), reverse=True)
    assert sorted(named(part) for part in parts_of(second)) == sorted(sent_by(pacs))


def test_what_the_cache_has_of_a_study_leaves_with_what_had_to_come(tmp_path: Path, gate: Gate) -> None:
    pacs = Pacs(some() + some(OTHER, 3))
    with pacs.serving(), behind(gate, pacs, tmp_path) as face:
        gate.opened.set()
        assert meta(face.get(f"/studies/{STUDY}/series/{OTHER}/metadata"))[0] == 200
        gate.opened.clear()
        gate.entered.clear()
        answer = face.get(ON_STUDY, ANY)
        before = list(gate.entered)

    assert before == []
    assert (answer.status_code, came(answer)) == (200, sent_by(pacs))
    assert pacs.count("GET") == 2


def test_a_zip_of_a_series_that_has_to_come_is_whole(tmp_path: Path) -> None:
    pacs = Pacs(some())
    with pacs.serving(), facing(pacs.port, tmp_path) as face:
        answer = face.get(ON_SERIES, "application/zip")

    assert answer.status_code == 200
    with zipfile.ZipFile(io.BytesIO(answer.content)) as packed:
        files = [packed.read(name) for name in packed.namelist()]
        contents = [data_of(file) for file in files if file[128:132] == b"DICM"]
    assert sorted(contents) == sorted(sent_by(pacs).values())


def test_head_tells_the_length_of_what_comes(tmp_path: Path) -> None:
    pacs = Pacs(some())
    with pacs.serving(), facing(pacs.port, tmp_path) as face:
        head = face.client.head(face.base + ON_SERIES, headers={"Accept": ANY})
        got = face.get(ON_SERIES, ANY)

    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["Content-Length"] == got.headers["Content-Length"] == str(len(got.content))
    assert pacs.count("GET") == 1


def test_conditional_and_partial_requests_are_answered_by_what_is_there(tmp_path: Path) -> None:
    pacs = Pacs(some())
    with pacs.serving(), facing(pacs.port, tmp_path) as face:
        first = face.get(ON_SERIES, ANY, **{"If-None-Match": '"nothing"', "Range": "bytes=0-9"})
        assert face.get(f"{ON_SERIES}/metadata").status_code == 200
        second = face.get(ON_SERIES, ANY)
        third = face.get(ON_SERIES, ANY, **{"If-None-Match": second.headers["ETag"]})
        stale = face.get(ON_SERIES, ANY, **{"If-None-Match": first.headers["ETag"]})
        part = face.get(f"{ON_SERIES}/instances/{SERIES}.1", "application/dicom", Range="bytes=128-131")

    assert (first.status_code, came(first)) == (200, sent_by(pacs))
    assert (third.status_code, third.content) == (304, b"")
    assert stale.status_code == (304 if first.headers["ETag"] == second.headers["ETag"] else 200)
    assert (part.status_code, part.content) == (206, b"DICM")


def test_a_tag_is_of_one_answer_byte_for_byte(tmp_path: Path, gate: Gate) -> None:
    pacs = Pacs(some())
    with pacs.serving(), behind(gate, pacs, tmp_path) as face:
        first = face.get(ON_SERIES, ANY)
        again = face.get(ON_SERIES, ANY)
        unchanged = face.get(ON_SERIES, ANY, **{"If-None-Match": first.headers["ETag"]})
        assert gate.entered == []

    assert first.headers["ETag"] == again.headers["ETag"]
    assert first.content == again.content
    assert unchanged.status_code == 304


@pytest.mark.parametrize("path", [ON_SERIES, ON_STUDY], ids=["series", "study"])
def test_what_a_pacs_moves_leaves_before_it_is_entered(tmp_path: Path, gate: Gate, path: str) -> None:
    port = unused_port()
    pacs = Pacs(some(), move_to=("127.0.0.1", port))
    with pacs.serving(GET), behind(gate, pacs, tmp_path, dimse_port=port) as face:
        answer = face.get(path, ANY)
        before = list(gate.entered)
        gate.opened.set()
        metadata = face.get(f"{path}/metadata")

    assert before == []
    assert (answer.status_code, came(answer)) == (200, sent_by(pacs))
    assert meta(metadata) == (200, set(sent_by(pacs)))
    assert pacs.count("MOVE") == 1


def test_ten_who_ask_at_once_make_one_retrieval_and_have_the_same(tmp_path: Path, gate: Gate) -> None:
    pacs = Pacs(some())
    pacs.gate.clear()
    with pacs.serving(), behind(gate, pacs, tmp_path) as face, ThreadPoolExecutor(1) as thread:
        ten = thread.submit(face.together, *[ON_SERIES] * 10, accept=ANY)
        pacs.wait_for(lambda: pacs.count("FIND"))
        pacs.gate.set()
        answers = ten.result(PATIENCE_S)

    assert [answer.status_code for answer in answers] == [200] * 10
    assert len({answer.content for answer in answers}) == 1
    assert came(answers[0]) == sent_by(pacs)
    assert pacs.count("GET") == 1
