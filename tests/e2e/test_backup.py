"""The commands of docs/backup.md, run as they stand there, on a service that stores meanwhile."""

import os
import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from urllib.request import Request, urlopen

from tests.e2e.conftest import PATIENCE_S
from tests.making import a_ct

ROOT = Path(__file__).resolve().parents[2]


def commands() -> list[str]:
    """The blocks of commands: how to copy, how to restore."""
    return re.findall(r"^```sh\n(.*?)^```", (ROOT / "docs/backup.md").read_text(), re.DOTALL | re.MULTILINE)


def run(block: str, folder: Path) -> str:
    """Run commands as a reader of the page would, in the folder with `data`."""
    isthmus = folder / "bin" / "isthmus"
    isthmus.parent.mkdir(exist_ok=True)
    isthmus.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m service "$@"\n')
    isthmus.chmod(0o755)
    path = f"{isthmus.parent}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "-e"],
        input=block,
        cwd=folder,
        env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def stored(program, file: bytes) -> None:
    request = Request(f"{program.root}/studies", file, {"Content-Type": "application/dicom"})
    with urlopen(request, timeout=PATIENCE_S) as response:
        assert response.status == 200


def there(program) -> int:
    with urlopen(f"{program.root}/instances", timeout=PATIENCE_S) as response:
        return bytes(response.read()).count(b'"00080018"')


def test_what_was_copied_is_there_after_the_restore(start, tmp_path):
    copy, restore = commands()
    program = start("serve", ISTHMUS_WORKERS="1").wait_ready()
    for _ in range(3):
        stored(program, a_ct())
    # given: a copy of the index, then an instance more, then a copy of the objects
    index, objects = copy.split("mkdir -p backup/objects\n")
    run(index, tmp_path)
    stored(program, a_ct())
    run("mkdir -p backup/objects\n" + objects, tmp_path)
    program.kill_all()
    # when: everything is lost, and restored
    shutil.rmtree(tmp_path / "data")
    said = run(restore, tmp_path)
    # then: all four are there, the one without a row too
    assert said
    assert there(start("serve", ISTHMUS_WORKERS="1").wait_ready()) == 4


def test_a_copy_holds_the_promises_of_the_bridge_as_they_are_and_none_of_its_cache(tmp_path):
    copy, _ = commands()
    for name in ("objects/studies/1.2/1.3", "bridge/jobs", "bridge/commitments", "bridge/cache/pacs"):
        (tmp_path / "data" / name).mkdir(parents=True)
    sqlite3.connect(tmp_path / "data/index.db").close()
    (tmp_path / "data/bridge/cache/pacs/object").write_bytes(b"large")
    (tmp_path / "data/bridge/jobs/first.json").write_text("{}")
    run(copy, tmp_path)
    # when: a job is over and forgotten, and another one taken
    (tmp_path / "data/bridge/jobs/first.json").rename(tmp_path / "data/bridge/jobs/second.json")
    run(copy, tmp_path)
    # then
    kept = {
        path.relative_to(tmp_path / "backup/bridge").as_posix() for path in tmp_path.glob("backup/bridge/*/*")
    }
    assert kept == {"jobs/second.json"}


def test_a_copy_without_an_index_is_enough(start, tmp_path):
    copy, restore = commands()
    program = start("serve", ISTHMUS_WORKERS="1").wait_ready()
    stored(program, a_ct())
    run(copy, tmp_path)
    program.kill_all()
    (tmp_path / "backup" / "index.db").unlink()
    run(restore, tmp_path)
    assert there(start("serve", ISTHMUS_WORKERS="1").wait_ready()) == 1
