"""A folder of worklist files: read as it is at each query, broken files passed over."""

import json
import logging
import os
import shutil
import threading

import pytest
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

from bridge.worklist.files import Files
from tests.dimse.worklist.scheduling import a_file, a_request, an_item, folder_of, patients


@pytest.mark.parametrize(
    "files",
    [
        {"one__wl": a_file(an_item(1))},
        {"one__DCM": a_file(an_item(1), syntax=ImplicitVRLittleEndian)},
        {"one__wl": a_file(an_item(1), syntax=ExplicitVRBigEndian)},
        {"one__json": json.dumps(an_item(1)).encode()},
        {"one__json": b"\xef\xbb\xbf" + json.dumps([an_item(1)]).encode()},
        {"one__wl": a_file(an_item(1))[132:]},  # without preamble
    ],
)
def test_a_file_is_told(start, tmp_path, files):
    bridge = start(f"file://{folder_of(tmp_path / 'in', **files)}")

    assert patients(bridge.ask()) == {"P1"}


def test_files_that_come_change_and_go_are_noticed(start, tmp_path):
    folder = folder_of(tmp_path / "in", a__wl=a_file(an_item(1)), b__wl=a_file(an_item(2)))
    bridge = start(f"file://{folder}")
    assert patients(bridge.ask()) == {"P1", "P2"}

    (folder / "b.wl").unlink()
    folder_of(folder, a__wl=a_file(an_item(11)), c__json=json.dumps([an_item(3), an_item(4)]).encode())

    assert patients(bridge.ask()) == {"P11", "P3", "P4"}


def test_a_broken_file_is_named_once_and_passed_over(start, tmp_path, caplog):
    broken = {
        "cut__wl": a_file(an_item(9))[:300],
        "text__wl": b"no worklist at all, but long enough to be looked at" * 20,
        "json__json": b"[{",
        "empty__wl": b"",
        "bare__json": b'{"00100020": {"vr": "LO", "Value": ["P7"]}}',
        "bulk__json": json.dumps({**an_item(8), "00420011": {"vr": "OB", "BulkDataURI": "x"}}).encode(),
        "notes__txt": b"not looked at",
    }  # fmt: skip
    bridge = start(f"file://{folder_of(tmp_path / 'in', good__wl=a_file(an_item(1)), **broken)}")

    with caplog.at_level(logging.WARNING, "isthmus.worklist"):
        assert patients(bridge.ask()) == {"P1"}
        assert patients(bridge.ask()) == {"P1"}

    named = [record.getMessage() for record in caplog.records if record.name == "isthmus.worklist"]
    assert sorted(line.split("'")[1] for line in named) == sorted(
        name.replace("__", ".") for name in broken if not name.endswith("txt")
    )
    assert not any("Doe" in line or "P9" in line for line in named)


def test_what_is_no_file_is_passed_over(start, tmp_path):
    folder = folder_of(tmp_path / "in", good__wl=a_file(an_item(1)))
    os.mkfifo(folder / "pipe.wl")
    (folder / "folder.wl").mkdir()
    (folder / "gone.wl").symlink_to(tmp_path / "nothing")

    assert patients(start(f"file://{folder}").ask()) == {"P1"}


def test_a_folder_that_cannot_be_read_fails_the_query(start, tmp_path):
    folder = folder_of(tmp_path / "in", good__wl=a_file(an_item(1)))
    bridge = start(f"file://{folder}")
    assert patients(bridge.ask()) == {"P1"}
    shutil.rmtree(folder)

    answers = bridge.ask()

    assert (answers.final.status, answers.matches) == (0xA700, [])


@pytest.mark.parametrize("limit", [{"files": 2}, {"steps": 2}])
def test_a_folder_of_more_than_may_be_is_never_told_in_part(start, tmp_path, limit):
    files = {f"{number}__wl": a_file(an_item(number)) for number in range(3)}
    bridge = start(f"file://{folder_of(tmp_path / 'in', **files)}", **limit)

    answers = bridge.ask()

    assert (answers.final.status, answers.matches) == (0xA700, [])


def test_an_item_with_several_steps_is_one_answer_each(start, tmp_path):
    item = an_item(1)
    (step,) = item["00400100"]["Value"]
    other = {**step, "00400009": {"vr": "SH", "Value": ["S1b"]}, "00080060": {"vr": "CS", "Value": ["MR"]}}
    item["00400100"]["Value"].append(other)
    bridge = start(f"file://{folder_of(tmp_path / 'in', a__json=json.dumps(item).encode())}")

    found = bridge.ask().matches

    told = [match.ScheduledProcedureStepSequence for match in found]
    assert [(len(steps), steps[0].Modality) for steps in told] == [(1, "CT"), (1, "MR")]
    query = a_request(Modality="MR", ScheduledProcedureStepID="S1")
    assert patients(bridge.ask(query)) == set()


def test_a_step_of_two_sources_is_told_once(start, tmp_path):
    folder = folder_of(tmp_path / "in", a__wl=a_file(an_item(1)), b__wl=a_file(an_item(2)))
    bridge = start(f"pushed, file://{folder}")
    bridge.push([an_item(1), an_item(3)])

    assert patients(bridge.ask()) == {"P1", "P2", "P3"}


def test_a_step_that_was_put_off_is_not_told_as_a_later_source_still_has_it(start, tmp_path):
    folder = folder_of(tmp_path / "in", a__wl=a_file(an_item(1)), b__wl=a_file(an_item(2)))
    bridge = start(f"pushed, file://{folder}")
    bridge.push([an_item(1, step={"00400002": "20240301"})])

    def told(day: str) -> set[str]:
        return patients(bridge.ask(a_request(ScheduledProcedureStepStartDate=day)))

    assert told("20240115") == {"P2"}
    assert told("20240301") == {"P1"}


def test_a_folder_that_holds_too_much_or_does_not_answer_fails_the_query(start, tmp_path, monkeypatch):
    folder = folder_of(tmp_path / "in", a__wl=a_file(an_item(1)))
    assert start(f"file://{folder}", held_bytes=100, state="small").ask().final.status == 0xA700

    hangs = threading.Event()
    read = Files._read_folder
    monkeypatch.setattr(Files, "_read_folder", lambda self, known: (hangs.wait(), read(self, known))[1])
    bridge = start(f"file://{folder}", look_s=0.1, wait_s=0.1, state="slow")

    try:
        assert bridge.ask().final.status == 0xA700
        bridge.end()
    finally:
        hangs.set()


def test_fifty_thousand_steps_are_told_a_day_at_a_time(start, tmp_path):
    items = [an_item(number, step={"00400002": f"2024{number % 12 + 1:02}01"}) for number in range(5000)]
    files = {f"{n}__json": json.dumps(items[n * 500 : (n + 1) * 500]).encode() for n in range(10)}
    bridge = start(f"file://{folder_of(tmp_path / 'in', **files)}")

    found = patients(bridge.ask(a_request(ScheduledProcedureStepStartDate="20240301")))

    assert found == {f"P{number}" for number in range(2, 5000, 12)}
