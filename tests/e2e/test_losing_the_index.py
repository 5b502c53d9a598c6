"""An index that is lost, and a `reindex` that is killed: what is there after it, beside a running service."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.index.sqlite import SqliteIndex
from tests.e2e.conftest import PATIENCE_S
from tests.making import a_ct, new_uid

REPOSITORY = Path(__file__).resolve().parents[2]
SIZE = 1_200


def command(folder: Path, *arguments: str, **settings: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "service", *arguments],
        cwd=folder,
        env={**os.environ, **settings, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    out, _ = process.communicate(timeout=2 * PATIENCE_S)
    return process.returncode, out


def rows(folder: Path) -> int:
    index = SqliteIndex(folder / "data/index.db")
    try:
        return len(index.walk(0, 2 * SIZE))
    finally:
        index.close()


def lose_the_index(folder: Path) -> None:
    for path in (folder / "data").glob("index.db*"):
        path.unlink()


@contextlib.contextmanager
def one_withheld(folder: Path) -> Iterator[None]:
    """Have whoever reads a certain object wait until the end: one of the last study but one that is found."""
    studies = [place for place, _, names in os.walk(folder / "data/objects") if names]
    chosen = min(Path(studies[-2]).iterdir())
    aside = chosen.rename(folder / "aside")
    os.mkfifo(chosen)
    try:
        yield
    finally:
        aside.replace(chosen)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A folder with an archive of studies of a hundred instances."""
    files = tmp_path / "files"
    files.mkdir()
    for number in range(SIZE // 100):
        study, series = new_uid(), new_uid()
        for each in range(100):
            file = a_ct(study=study, series=series, InstanceNumber=each, StudyDescription=f"{number} {each}")
            (files / f"{number}-{each:02}").write_bytes(file)
    code, out = ended(command(tmp_path, "import", str(files)))
    assert (code, f"{SIZE} stored" in out) == (0, True), out
    return tmp_path


def told(root: str) -> list[object]:
    """All studies, and the metadata of each."""
    with urllib.request.urlopen(f"{root}/studies?includefield=all&limit=5000", timeout=PATIENCE_S) as answer:
        studies = json.load(answer)
    documents = []
    for study in studies:
        with urllib.request.urlopen(
            study["00081190"]["Value"][0] + "/metadata", timeout=PATIENCE_S
        ) as answer:
            documents.append(json.load(answer))
    return [studies, documents]


def plain(answers: list[object], root: str) -> str:
    return json.dumps(answers).replace(root, "")


def test_a_reindex_that_is_killed_is_gone_on_with_beside_a_service(archive, start):
    service = start("serve").wait_ready()
    before = plain(told(service.root), service.root)
    service.kill_all()
    lose_the_index(archive)
    # when: it is killed in the middle, while it waits for an object that does not come
    service = start("serve").wait_ready()
    with one_withheld(archive):
        killed = command(archive, "reindex")
        pause, ends = threading.Event(), time.monotonic() + PATIENCE_S
        while rows(archive) < 200 and time.monotonic() < ends:
            assert killed.poll() is None, killed.communicate()[0]
            pause.wait(0.01)
        killed.send_signal(signal.SIGKILL)
        killed.wait(PATIENCE_S)
        killed.communicate()
    entered = rows(archive)
    assert 200 <= entered < SIZE
    assert plain(told(service.root), service.root) != "[[], []]"  # what is entered is served
    # then
    code, out = ended(command(archive, "reindex"))
    assert code == 0, out
    assert f"{SIZE - entered} entered, {entered} had their rows, 0 left out." in out
    assert plain(told(service.root), service.root) == before
    code, out = ended(command(archive, "check"))
    assert (code, f"{SIZE} rows and objects" in out) == (0, True), out


def test_two_at_a_time_do_no_harm(archive):
    lose_the_index(archive)
    both = [command(archive, "reindex"), command(archive, "reindex")]
    ends = [ended(process) for process in both]
    assert [code for code, _ in ends] == [0, 0], ends
    assert rows(archive) == SIZE
    assert sum(int(out.split(" entered")[0].split()[-1]) for _, out in ends) == SIZE
    assert ended(command(archive, "check"))[0] == 0
