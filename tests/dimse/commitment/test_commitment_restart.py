"""Reports that are owed outlast the bridge: it is killed between the request and the report."""

import os
import queue
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.dimse.committing import Asker, Holder, Reports, receiver
from tests.dimse.dimse_peers import PATIENCE_S, a_uid

ROOT = Path(__file__).parents[3]


class Program:
    """`python -m bridge` on ports of its own."""

    def __init__(self, folder: Path, url: str, peers: Path) -> None:
        ours = {name: value for name, value in os.environ.items() if not name.startswith("ISTHMUS_")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bridge"],
            cwd=ROOT,
            env={
                **ours,
                "ISTHMUS_DIMSE_PORT": "0",
                "ISTHMUS_BRIDGE_PORT": "0",
                "ISTHMUS_ARCHIVE_URL": url,
                "ISTHMUS_BRIDGE_STATE": str(folder),
                "ISTHMUS_PEERS": str(peers),
            },
            stderr=subprocess.PIPE,
            text=True,
        )
        self._lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        listening = self.wait_for(" listening ")
        self.port = int(dict(word.split("=", 1) for word in listening.split() if "=" in word)["port"])

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._lines.put(line)

    def wait_for(self, words: str) -> str:
        """The next line of the log that has `words`."""
        while words not in (line := self._lines.get(timeout=PATIENCE_S)):
            pass
        return line

    def end(self, number: signal.Signals) -> None:
        self.process.send_signal(number)
        self.process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        assert self.process.stderr is not None
        self.process.stderr.close()


@pytest.fixture
def holder(holder: Holder) -> Holder:
    """One that cannot say yet what it holds."""
    holder.open.clear()
    return holder


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_report_comes_after_a_restart(holder: Holder, tmp_path: Path, number: signal.Signals):
    reports, transaction = Reports(), a_uid()
    wanted = holder.holds(3)
    with receiver(reports) as port:
        peers = tmp_path / "peers.toml"
        peers.write_text(f'[peers.ct]\nae_title = "MODALITY"\nhost = "127.0.0.1"\nport = {port}\n')
        first = Program(tmp_path / "state", holder.url, peers)
        asker = Asker(first.port)
        assert asker.ask(wanted, transaction) == 0x0000
        first.end(number)
        asker.association.abort()
        asker.close()
        assert reports.arrived.empty()
        holder.open.set()

        second = Program(tmp_path / "state", holder.url, peers)
        report = reports.next()
        second.wait_for("reported='new association'")
        second.end(signal.SIGTERM)

    assert report.information.TransactionUID == transaction
    assert report.committed == wanted
    assert second.process.returncode == 0
    assert list((tmp_path / "state" / "commitments").iterdir()) == []
