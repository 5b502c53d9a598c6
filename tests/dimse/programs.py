"""Programs of others, started for a test and ended with it."""

import contextlib
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.dimse.dimse_peers import PATIENCE_S


def need(name: str) -> str:
    """The path of a program; the test is skipped where it is not installed."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin")
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


@contextlib.contextmanager
def running(command: list[str], *ports: int, folder: Path) -> Iterator[None]:
    """A program that listens on `ports`, run in `folder`."""
    environ = {**os.environ, "TCP_NODELAY": "1"}
    with (folder / "log").open("wb") as log:
        program = subprocess.Popen(command, cwd=folder, env=environ, stdout=log, stderr=subprocess.STDOUT)
    try:
        pause = threading.Event()
        for port in ports:
            for _ in range(int(PATIENCE_S / 0.05)):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                assert program.poll() is None, (folder / "log").read_text()
                pause.wait(0.05)
            else:
                raise AssertionError(f"never listened: {(folder / 'log').read_text()}")
        yield
    finally:
        program.kill()
        program.wait(PATIENCE_S)
