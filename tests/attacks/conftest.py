"""The real programs, which people have to sign in to, holding a study whose patient must never be told."""

import re
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.access.conftest import KEY, hashed
from tests.attacks.wire import Wire
from tests.e2e.conftest import Program
from tests.making import a_ct

NAME, NUMBER = "Geheim^Gundula", "GEHEIM-4711"
THERE = {"study": "2.25.11", "series": "2.25.12", "instance": "2.25.13"}
ALICE = b"Authorization: Basic " + b64encode(b"alice:secret")
_FAULTS = re.compile(r"Traceback|fault=|Exception in ASGI|ERROR |Injected|<script|evil\.example")


@dataclass(frozen=True)
class Target:
    """Service and bridge that run, and a file that the service holds."""

    program: Program
    file: bytes

    @property
    def faults(self) -> list[str]:
        """What the programs have said of faults of their own, and of patients."""
        lines = self.program.output.splitlines()
        return [line for line in lines if _FAULTS.search(line) or tells(line.encode())]


def tells(told: bytes) -> bool:
    """Whether something of the patient is told, or of where the program lies."""
    return any(word in told for word in (b"Geheim", b"Gundula", NUMBER.encode(), b"Traceback", b"/service/"))


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """Alice may do everything; the password is `secret`."""
    folder: Path = tmp_path_factory.mktemp("target")
    (folder / "passwords").write_text(f"alice:{hashed('secret')}\n")
    (folder / "share.key").write_text(KEY + "\n")
    (folder / "peers.toml").write_text(
        '[peers.pacs]\nae_title = "PACS"\nhost = "127.0.0.1"\nport = 9\ntimeout_s = 1\n'
    )
    program = Program(
        folder,
        "up",
        ISTHMUS_AUTH="basic",
        ISTHMUS_PASSWORDS_FILE="passwords",
        ISTHMUS_SHARE_KEY_FILE="share.key",
        ISTHMUS_PEERS="peers.toml",
        ISTHMUS_WORKERS="1",
    ).wait_ready()
    try:
        file = a_ct(PatientName=NAME, PatientID=NUMBER, **dict[str, Any](THERE))
        with Wire(program.port) as wire:
            kind = b"Content-Type: application/dicom"
            stored = wire.ask(b"POST", b"/dicom-web/studies", [ALICE, kind], file)
        assert stored.status == 200, stored
        yield Target(program, file)
    finally:
        program.close()
