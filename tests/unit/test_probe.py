"""`isthmus health`: what it asks, and what it makes of the answers."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from service import probe
from service.__main__ import main
from service.environment import SettingError


class Server(ThreadingHTTPServer):
    """Keeps what it was asked for."""

    def __init__(self, handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.asked: list[str] = []


@contextlib.contextmanager
def answering(status: int, body: bytes) -> Iterator[Server]:
    """A server that gives one answer to everything."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.asked.append(self.path)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            if status in (301, 302):
                self.send_header("Location", "/elsewhere")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = Server(Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def a_port(*, listening: bool) -> Iterator[int]:
    """A port that is taken, and that nobody accepts from; or refuses."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        if listening:
            taken.listen()
        yield taken.getsockname()[1]


def url(server: Server, path: str = "/readyz") -> str:
    return f"http://127.0.0.1:{server.server_port}{path}"


def test_well_is_what_answers_200():
    with answering(200, b'{"status": "ready"}') as server:
        health = probe.ask(url(server, "/x?y=z"))
    assert health.well
    assert health.told.endswith("answers 200, ready.")
    assert server.asked == ["/x?y=z"]


def test_a_service_that_is_not_ready_says_why():
    with answering(503, b'{"status": "not ready", "because": "The index is gone."}') as server:
        health = probe.ask(url(server))
    assert not health.well
    assert not health.absent
    assert health.told.endswith("answers 503, not ready: The index is gone.")


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[1]", b"\xff\x00", b'{"status": 3}', b"{" * 9999, b"[" * 9999]
)
def test_whatever_the_body_is_the_status_counts(body):
    with answering(200, body) as server:
        assert probe.ask(url(server)).well
    with answering(500, body) as server:
        assert not probe.ask(url(server)).well


def test_nothing_is_followed_elsewhere():
    with answering(302, b"") as server:
        assert not probe.ask(url(server)).well
    assert server.asked == ["/readyz"]


def test_proxies_are_not_asked(monkeypatch):
    with a_port(listening=False) as closed, answering(200, b"") as server:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{closed}")
        assert probe.ask(url(server)).well


def test_what_does_not_listen_is_absent():
    with a_port(listening=False) as port:
        health = probe.ask(f"http://127.0.0.1:{port}/readyz")
    assert health.absent
    assert not health.well


def test_what_listens_and_says_nothing_is_not_well(monkeypatch):
    monkeypatch.setattr(probe, "_ANSWER_S", 0.2)
    with a_port(listening=True) as port:
        health = probe.ask(f"http://127.0.0.1:{port}/readyz")
    assert not health.well
    assert not health.absent
    assert "no answer" in health.told


@pytest.mark.parametrize(
    "target",
    [
        "up",
        "",
        "ftp://x/",
        "http:///x",
        "http://[x/",
        "http://x:y/",
        "file:///etc",
        "http://a..b/",
        "http://127.0.0.1:9/\u00fc",
    ],
)
def test_what_cannot_be_asked_is_refused(target):
    with pytest.raises(SettingError, match="health"):
        probe.health(target, {})


def test_of_two_programs_the_one_that_runs_here_counts():
    with a_port(listening=False) as closed, answering(200, b"") as server:
        environ = {"ISTHMUS_PORT": str(server.server_port), "ISTHMUS_DIMSE_PORT": str(closed)}
        assert [one.well for one in probe.health(None, environ)] == [True]
        assert [one.well for one in probe.health("serve", environ)] == [True]
        assert [one.absent for one in probe.health("bridge", environ)] == [True]


def test_where_nothing_runs_both_are_named():
    with a_port(listening=False) as one, a_port(listening=False) as other:
        environ = {"ISTHMUS_PORT": str(one), "ISTHMUS_DIMSE_PORT": str(other)}
        told = [health.told for health in probe.health(None, environ)]
    assert [str(one) in told[0], str(other) in told[1]] == [True, True]


@pytest.mark.parametrize(
    ("host", "reached"), [("0.0.0.0", "127.0.0.1"), ("::", "[::1]"), ("10.0.0.1", "10.0.0.1")]
)
def test_what_listens_everywhere_is_asked_on_the_loopback(host, reached):
    assert probe._service_url({"ISTHMUS_HOST": host}) == f"http://{reached}:8080/readyz"


def test_the_command_tells_and_ends_accordingly(capsys):
    with answering(200, b'{"status": "ready"}') as server:
        assert main(["health", url(server)]) == 0
    assert capsys.readouterr().out.endswith("answers 200, ready.\n")
    with a_port(listening=False) as port:
        assert main(["health", f"http://127.0.0.1:{port}/readyz"]) == 1
    assert "Nothing listens" in capsys.readouterr().err
    assert main(["health", "elsewhere"]) == 2
