"""The face in the bridge as it is run: by C-MOVE to the inbox of its own port, and after it was killed."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx2 as httpx

from tests.dimse.committing import unused_port
from tests.dimse.dimse_peers import PATIENCE_S
from tests.dimse.pacs.facing import JSON, Pacs, read_back
from tests.making import a_data_set, a_file, add_pixels

SERIES = "/studies/1.2.3/series/1.2.3.4"


@contextlib.contextmanager
def bridge(folder: Path, pacs: int, dimse: int) -> Iterator[tuple["subprocess.Popen[bytes]", str]]:
    """`python -m bridge` with the peer `pacs`; its process and the root of that face."""
    http = unused_port()
    peers = folder / "peers.toml"
    peers.write_text(
        f'[peers.pacs]\nae_title = "PACS"\nhost = "127.0.0.1"\nport = {pacs}\nretrieve = "move"\n'
    )
    environ = {
        **os.environ,
        "ISTHMUS_PEERS": str(peers),
        "ISTHMUS_DIMSE_PORT": str(dimse),
        "ISTHMUS_BRIDGE_PORT": str(http),
        "ISTHMUS_BRIDGE_STATE": str(folder / "state"),
    }
    url = f"http://127.0.0.1:{http}"
    with (folder / "log").open("ab") as log:
        program = subprocess.Popen([sys.executable, "-m", "bridge"], env=environ, stdout=log, stderr=log)
    try:
        pause = threading.Event()
        for _ in range(int(PATIENCE_S / 0.05)):
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{url}/healthz").status_code == 200:
                    break
            assert program.poll() is None, (folder / "log").read_text()
            pause.wait(0.05)
        yield program, f"{url}/peers/pacs/dicom-web"
    finally:
        if program.poll() is None:
            program.send_signal(signal.SIGTERM)
        program.wait(PATIENCE_S)


def test_a_bridge_that_was_killed_goes_on_with_what_it_had(tmp_path: Path):
    dimse = unused_port()
    files = [
        a_file(
            add_pixels(a_data_set(study="1.2.3", series="1.2.3.4", instance=f"1.2.3.4.{number}"), [bytes(32)])
        )
        for number in range(1, 31)
    ]
    pacs = Pacs(read_back(files), move_to=("127.0.0.1", dimse))
    with pacs.serving():
        with bridge(tmp_path, pacs.port, dimse) as (program, base):
            first = httpx.get(f"{base}{SERIES}/metadata", headers={"Accept": JSON}, timeout=PATIENCE_S)
            program.kill()
            program.wait(PATIENCE_S)
        moved = pacs.count("MOVE")

        with bridge(tmp_path, pacs.port, dimse) as (program, base):
            again = httpx.get(f"{base}{SERIES}/metadata", headers={"Accept": JSON}, timeout=PATIENCE_S)
            nobody = httpx.get(f"{base.replace('pacs', 'other', 1)}/studies")

    assert (first.status_code, len(first.json())) == (200, 30)
    assert (again.status_code, len(again.json())) == (200, 30)
    assert (moved, pacs.count("MOVE"), nobody.status_code) == (1, 1, 404)
    assert program.returncode == 0


def test_a_bridge_that_is_told_to_stop_does_not_wait_for_a_pacs_that_hangs(tmp_path: Path):
    dimse = unused_port()
    file = a_file(add_pixels(a_data_set(study="1.2.3", series="1.2.3.4", instance="1.2.3.4.1"), [bytes(32)]))
    pacs = Pacs(read_back([file]), move_to=("127.0.0.1", dimse))
    statuses: list[int] = []

    def ask(url: str) -> None:
        with contextlib.suppress(httpx.TransportError):
            statuses.append(httpx.get(url, headers={"Accept": JSON}, timeout=PATIENCE_S).status_code)

    with pacs.serving(), bridge(tmp_path, pacs.port, dimse) as (program, base):
        ask(f"{base}{SERIES}/metadata")
        pacs.gate.clear()
        asked = len(pacs.asked)
        paths = ("/studies", "/studies/1.2.9/metadata", f"{SERIES}/instances/1.2.3.4.9/metadata")
        waiting = [threading.Thread(target=ask, args=(base + path,)) for path in paths]
        for thread in waiting:
            thread.start()
        pacs.wait_for(lambda: len(pacs.asked) >= asked + 2)
        program.send_signal(signal.SIGTERM)
        code = program.wait(PATIENCE_S)
        pacs.gate.set()
        for thread in waiting:
            thread.join(PATIENCE_S)

    assert code == 0
    assert statuses[0] == 200
    assert 200 not in statuses[1:]
    assert b"Traceback" not in (tmp_path / "log").read_bytes()
