"""How a bridge is found to be well: by C-ECHO, as `isthmus health` sends it."""

import socket
import threading

import pytest

from bridge import probe
from bridge.settings import BridgeSettings, Limits


def test_a_bridge_that_serves_answers_the_echo(start_bridge):
    bridge = start_bridge()
    assert probe.echo("127.0.0.1", bridge.port, "ISTHMUS") == (True, "answers C-ECHO with 0000H")


def test_a_bridge_that_knows_another_name_lives(start_bridge):
    bridge = start_bridge(check_called_ae=True, ae_title=BridgeSettings().ae_title)
    well, told = probe.echo("127.0.0.1", bridge.port, "ELSEWHERE")
    assert well
    assert "called AE title" in told


def test_what_takes_connections_and_says_nothing_is_not_well(monkeypatch):
    monkeypatch.setattr(probe, "_LIMITS", Limits(artim_s=0.2))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        well, told = probe.echo("127.0.0.1", silent.getsockname()[1], "ISTHMUS")
    assert not well
    assert told.startswith("gives no answer: The peer does not answer")


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x02\x00\xff\xff\xff\xff", b""])
def test_what_speaks_something_else_is_not_well(answer):
    with socket.create_server(("127.0.0.1", 0)) as other:

        def speak() -> None:
            connection, _ = other.accept()
            with connection:
                connection.recv(1024)
                connection.sendall(answer)

        speaking = threading.Thread(target=speak)
        speaking.start()
        well, told = probe.echo("127.0.0.1", other.getsockname()[1], "ISTHMUS")
        speaking.join()
    assert not well
    assert told.startswith("gives no answer")
