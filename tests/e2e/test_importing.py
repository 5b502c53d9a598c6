"""`isthmus import` loads folders, tells what it refused, and stores nothing twice."""

import os
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.e2e.conftest import PATIENCE_S
from tests.making import a_ct

REPOSITORY = Path(__file__).resolve().parents[2]


def load(folder: Path, *paths: Path | str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "service", "import", *map(str, paths)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def objects(folder: Path) -> list[Path]:
    return [path for path in (folder / "data/objects").rglob("*") if path.is_file()]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "1.dcm").write_bytes(a_ct())
    (folder / "deep" / "2").write_bytes(a_ct())
    (folder / "deep" / "er" / "3.dcm").write_bytes(a_ct())
    (folder / "notes.txt").write_text("no DICOM")
    (folder / "cut.dcm").write_bytes(a_ct()[:-5])
    return folder


def test_folders_are_loaded_and_refusals_explained(tmp_path, files):
    ran = load(tmp_path, files)
    assert ran.returncode == 1
    assert "3 stored, 0 already there, 2 refused." in ran.stdout
    assert "notes.txt: There is no DICM prefix" in ran.stdout or "notes.txt: The file ends" in ran.stdout
    assert "cut.dcm: The file ends inside an element's value." in ran.stdout
    assert len(objects(tmp_path)) == 3


def test_running_again_stores_nothing_twice(tmp_path, files):
    load(tmp_path, files)
    again = load(tmp_path, files / "1.dcm", files / "deep")
    assert again.returncode == 0
    assert "0 stored, 3 already there, 0 refused." in again.stdout
    assert len(objects(tmp_path)) == 3


def test_what_is_imported_is_served(tmp_path, files, start):
    load(tmp_path, files)
    program = start("serve").wait_ready()
    with urllib.request.urlopen(f"{program.root}/instances", timeout=PATIENCE_S) as answer:
        assert answer.read().count(b'"00080018"') == 3


def test_a_path_that_is_not_there_is_said(tmp_path):
    ran = load(tmp_path, "nowhere")
    assert ran.returncode == 2
    assert "there is no nowhere" in ran.stderr


def test_the_small_files_of_the_tests_can_be_loaded(tmp_path):
    ran = load(tmp_path, REPOSITORY / "tests" / "data" / "dicom")
    assert ran.returncode == 0, ran.stdout
    assert " 0 refused" in ran.stdout
