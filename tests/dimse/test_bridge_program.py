"""`python -m bridge` as a process: its start, its end, its words."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bridge.upper import pdu
from tests.dimse.dimse_peers import PATIENCE_S, VERIFICATION, RawPeer, a_context, an_echo

ROOT = Path(__file__).parents[2]
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    running: list[subprocess.Popen[str]] = []

    def begin(*arguments: str, pass_fds: tuple[int, ...] = (), **environ: str) -> "subprocess.Popen[str]":
        ours = {name: value for name, value in os.environ.items() if not name.startswith("ISTHMUS_")}
        ours["ISTHMUS_BRIDGE_STATE"] = str(tmp_path / f"state{len(running)}")
        running.append(
            subprocess.Popen(
                [sys.executable, "-m", "bridge", *arguments],
                cwd=ROOT,
                env={**ours, "ISTHMUS_DIMSE_PORT": "0", "ISTHMUS_BRIDGE_PORT": "0", **environ},
                stderr=subprocess.PIPE,
                text=True,
                pass_fds=pass_fds,
            )
        )
        return running[-1]

    yield begin
    for program in running:
        program.kill()
        program.communicate()


def port_of(program: "subprocess.Popen[str]") -> int:
    """The port in the line that says that the bridge listens."""
    assert program.stderr is not None
    line = program.stderr.readline()
    assert " listening " in line, line
    return int(dict(word.split("=", 1) for word in line.split() if "=" in word)["port"])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_and_ends_it(start: Start, number: signal.Signals):
    program = start()
    with RawPeer(("127.0.0.1", port_of(program))) as peer:
        peer.associate(a_context(1, VERIFICATION))
        peer.send(an_echo())
        assert peer.response().status == 0

        program.send_signal(number)

        assert peer.next_pdu()[0] == pdu.Kind.ABORT
        peer.close()
        assert program.wait(PATIENCE_S) == 0


def test_it_ends_with_the_process_that_holds_its_leash(start: Start):
    ours, its = socket.socketpair()
    with its:
        program = start("--leash", str(its.fileno()), pass_fds=(its.fileno(),))
    port_of(program)

    ours.close()

    assert program.wait(PATIENCE_S) == 0


def test_a_bad_setting_is_named(start: Start):
    program = start(ISTHMUS_AE_TITLE="MUCH-TOO-LONG-A-TITLE")

    _, words = program.communicate(timeout=PATIENCE_S)

    assert program.returncode == 2
    assert "ISTHMUS_AE_TITLE" in words
    assert "Traceback" not in words


def test_an_address_in_use_is_said(start: Start):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        program = start(ISTHMUS_DIMSE_PORT=str(port))
        _, words = program.communicate(timeout=PATIENCE_S)

    assert program.returncode == 1
    assert f"127.0.0.1:{port}" in words
    assert "ISTHMUS_DIMSE_PORT" in words
    assert "Traceback" not in words


def test_a_second_bridge_on_the_same_state_is_refused(start: Start, tmp_path: Path):
    first = start(ISTHMUS_BRIDGE_STATE=str(tmp_path / "both"))
    port_of(first)

    second = start(ISTHMUS_BRIDGE_STATE=str(tmp_path / "both"))
    _, words = second.communicate(timeout=PATIENCE_S)

    assert second.returncode == 2
    assert "ISTHMUS_BRIDGE_STATE" in words
    assert f"process {first.pid}" in words
    assert "Traceback" not in words


def test_the_state_of_a_bridge_that_was_killed_is_free(start: Start, tmp_path: Path):
    first = start(ISTHMUS_BRIDGE_STATE=str(tmp_path / "both"))
    port_of(first)
    first.kill()
    first.wait(PATIENCE_S)

    port_of(start(ISTHMUS_BRIDGE_STATE=str(tmp_path / "both")))


def test_a_state_folder_that_cannot_be_written_is_said(start: Start, tmp_path: Path):
    (tmp_path / "file").write_text("")
    program = start(ISTHMUS_BRIDGE_STATE=str(tmp_path / "file" / "state"))

    _, words = program.communicate(timeout=PATIENCE_S)

    assert program.returncode == 2
    assert "ISTHMUS_BRIDGE_STATE" in words
    assert "Traceback" not in words
