"""`isthmus up`: what it says, how it ends, what happens when something dies."""

import http.client
import os
import signal
import socket
import threading
import time

import pytest

from tests.e2e.conftest import PATIENCE_S
from tests.making import a_ct


def listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_it_says_where_things_are_and_what_to_try(start):
    program = start().wait_ready()
    program.wait_for("Try:")
    program.wait_for("studies\\?")
    for text in (
        program.root,
        f"ISTHMUS at 127.0.0.1:{program.dimse_port}",
        "curl ",
        "storescu ",
        "objects",
        "index",
    ):
        assert text in program.output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_both_programs_cleanly(start, number):
    program = start().wait_ready()
    program.signal(number)
    assert program.end() == 0, program.output
    assert program.members() == []
    assert not listening(program.port)
    assert not listening(program.dimse_port)


def test_what_is_in_flight_is_finished(start):
    program = start(ISTHMUS_DRAIN_S="60").wait_ready()
    file = a_ct([bytes(32) for _ in range(20_000)])
    connection = http.client.HTTPConnection("127.0.0.1", program.port, timeout=PATIENCE_S)
    connection.putrequest("POST", "/dicom-web/studies")
    connection.putheader("Content-Type", "application/dicom")
    connection.putheader("Content-Length", str(len(file)))
    connection.putheader("Expect", "100-continue")
    connection.endheaders()
    assert connection.sock.recv(100).startswith(b"HTTP/1.1 100 ")
    connection.send(file[:300_000])
    # when: it is told to stop in the middle of the body, and the bridge is already gone
    program.signal(signal.SIGTERM)
    program.wait_for("draining")
    connection.send(file[300_000:])
    # then
    response = connection.getresponse()
    assert response.status == 200, response.read()
    connection.close()
    assert program.end() == 0, program.output


def test_a_killed_parent_leaves_no_orphans_and_no_bound_port(start):
    program = start().wait_ready()
    members = set(program.members())
    assert len(members) >= 4  # itself, the service, its two workers, the bridge
    os.kill(program.process.pid, signal.SIGKILL)
    program.wait_gone()
    assert not listening(program.port)
    assert not listening(program.dimse_port)


@pytest.mark.parametrize("which", ["bridge", "service serve --beside"])
def test_a_child_that_dies_is_started_again(start, which):
    program = start().wait_ready()
    victim = next(pid for pid, line in program.commands().items() if which in line and "--socket" not in line)
    os.kill(victim, signal.SIGKILL)
    program.wait_for("died=true")
    pause, ends = threading.Event(), time.monotonic() + PATIENCE_S
    while victim in program.commands() or not (listening(program.port) and listening(program.dimse_port)):
        assert time.monotonic() < ends, program.output
        pause.wait(0.1)
    program.wait_ready()
    assert listening(program.dimse_port)


def test_a_child_that_keeps_dying_ends_everything(start):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        program = start(ISTHMUS_DIMSE_PORT=str(taken.getsockname()[1]))
        assert program.end() == 1
    assert "cannot listen" in program.output
    assert program.members() == []


def test_a_setting_of_the_bridge_that_cannot_be_used_ends_everything_and_is_said_once(start, tmp_path):
    peers = tmp_path / "peers.toml"
    peers.write_text("[peers.ct]\nae_title = 7\n")
    program = start(ISTHMUS_PEERS=str(peers))
    assert program.end() == 1
    assert program.output.count("ISTHMUS_PEERS") == 1
    assert "given_up=true" in program.output
    assert program.members() == []


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("ISTHMUS_PORT", "http"),
        ("ISTHMUS_HOST", "0.0.0.0"),
        ("ISTHMUS_STORE", "nowhere"),
        ("ISTHMUS_INDEX", "nowhere"),
        ("ISTHMUS_ON_DUPLICATE", "perhaps"),
        ("ISTHMUS_HEADER_LIMIT", "much"),
        ("ISTHMUS_PREFIX", "dicom"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(start, setting, value):
    program = start("serve", **{setting: value, "ISTHMUS_WORKERS": "1"})
    assert program.end() == 2
    assert setting in program.output
    assert "Traceback" not in program.output


def test_a_port_that_is_taken_is_said(start):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        program = start("serve", ISTHMUS_PORT=str(taken.getsockname()[1]))
        assert program.end() == 2
    assert "ISTHMUS_PORT" in program.output
