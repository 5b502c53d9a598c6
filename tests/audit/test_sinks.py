"""Where events go: files that several processes share, standard output, collectors of syslog."""

import contextlib
import errno
import json
import os
import re
import resource
import select
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from service.audit import codes
from service.audit.open import trail_of
from service.audit.settings import AuditSettings
from service.audit.sinks import FileSink, StandardOutput, checked, open_sink
from service.audit.syslog import Collector, SyslogSink
from service.environment import SettingError
from tests.audit_events import PATIENCE_S, an_event

ROOT = Path(__file__).resolve().parents[2]
MESSAGE = re.compile(rb"<(\d+)>1 (\S+Z) (\S+) (\S+) (\d+) (\S+) - \xef\xbb\xbf(<AuditMessage>.*)", re.DOTALL)


def requests(path: Path) -> list[str]:
    lines = path.read_text().splitlines()
    return [
        detail["value"]
        for line in lines
        for detail in json.loads(line)["ParticipantObjectIdentification"][0]["ParticipantObjectDetail"]
    ]


def told(name: str):
    return an_event(studies={"1.1": {}}, request=name)


def test_a_file_is_appended_to_and_its_folder_is_made(tmp_path):
    path = tmp_path / "audit" / "trail.log"
    for name in ("1", "2"):
        sink = FileSink(path, "here")
        sink.write([told(name)])
        sink.close()
    assert requests(path) == ["1", "2"]
    assert path.stat().st_mode & 0o777 == 0o640 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_file_that_was_moved_away_is_made_anew(tmp_path):
    path = tmp_path / "trail.log"
    sink = FileSink(path, "here")
    sink.write([told("1")])
    path.rename(tmp_path / "trail.log.1")
    sink.write([told("2")])
    path.unlink()
    sink.write([told("3")])
    sink.close()
    assert requests(tmp_path / "trail.log.1") == ["1"]
    assert requests(path) == ["3"]


def test_several_processes_append_whole_lines(tmp_path):
    path = tmp_path / "trail.log"
    program = (
        "import sys; from pathlib import Path; from tests.audit_events import an_event\n"
        "from service.audit.sinks import FileSink\n"
        "sink = FileSink(Path(sys.argv[1]), 'here')\n"
        "for number in range(200): sink.write([an_event(studies={'1.1': {}}, request=str(number))] * 5)\n"
    )
    running = [subprocess.Popen([sys.executable, "-c", program, str(path)], cwd=ROOT) for _ in range(3)]
    assert [one.wait(PATIENCE_S) for one in running] == [0, 0, 0]
    assert len(requests(path)) == 3 * 200 * 5


def test_a_disk_that_is_full_ends_the_line_and_the_event_comes_again_whole(tmp_path):
    path = tmp_path / "trail.log"
    sink = FileSink(path, "here")
    sink.write([told("1")])
    size = path.stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, before[1]))
        with pytest.raises(OSError, match="large"):
            sink.write([told("2")])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    sink.write([told("2")])
    sink.close()
    first, torn, last = path.read_text().splitlines()
    assert torn.startswith('{"EventIdentification"')
    found = [json.loads(one)["ParticipantObjectIdentification"][0] for one in (first, last)]
    assert [one["ParticipantObjectDetail"][0]["value"] for one in found] == ["1", "2"]


def test_a_file_that_cannot_be_made_anew_at_first_is_made_when_it_can(tmp_path):
    path = tmp_path / "trail.log"
    sink = FileSink(path, "here")
    sink.write([told("1")])
    path.unlink()
    path.mkdir()
    for _ in range(2):
        with pytest.raises(IsADirectoryError):
            sink.write([told("2")])

    path.rmdir()
    sink.write([told("2")])

    sink.close()
    assert requests(path) == ["2"]


def test_a_disk_that_fails_is_not_taken_for_a_pipe(tmp_path, monkeypatch):
    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    sink = FileSink(tmp_path / "trail.log", "here")
    monkeypatch.setattr(os, "fdatasync", fail)

    with pytest.raises(OSError, match="error"):
        sink.write([told("1")])

    sink.close()


def test_what_another_process_left_half_written_is_ended_first(tmp_path):
    path = tmp_path / "trail.log"
    path.write_text('{"EventIdent')
    sinks = [FileSink(path, "here") for _ in range(2)]

    for number, sink in enumerate(sinks):
        sink.write([told(str(number))])
        sink.close()

    torn, *whole = path.read_text().splitlines()
    assert torn == '{"EventIdent'
    assert [json.loads(line)["EventIdentification"]["EventActionCode"] for line in whole] == ["R", "R"]


def test_a_pipe_may_stand_where_a_file_would(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    sink = FileSink(path, "here")
    sink.write([told("1")])
    assert json.loads(os.read(reading, 1 << 16))["AuditSourceIdentification"]["AuditSourceID"] == "here"
    sink.close()
    os.close(reading)


def test_standard_output_gets_lines():
    reading, writing = os.pipe()
    StandardOutput("here", writing).write([told("1")])
    os.close(writing)
    with os.fdopen(reading, "rb") as lines:
        assert json.loads(lines.read())["AuditSourceIdentification"]["AuditSourceID"] == "here"


def test_a_program_tells_its_start_and_its_end(tmp_path):
    path = tmp_path / "trail.log"
    with trail_of(AuditSettings(f"file://{path}"), "isthmus") as trail:
        assert trail is not None
    lines = [json.loads(line)["EventIdentification"] for line in path.read_text().splitlines()]
    assert [line["EventTypeCode"][0]["originalText"] for line in lines] == [
        "Application Start",
        "Application Stop",
    ]
    with trail_of(AuditSettings(), "isthmus") as none:
        assert none is None


def test_datagrams_have_one_message_each():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as collector:
        collector.bind(("127.0.0.1", 0))
        collector.settimeout(PATIENCE_S)
        sink = open_sink(f"syslog://127.0.0.1:{collector.getsockname()[1]}", "isthmus")
        sink.write([told("1"), an_event(outcome=codes.SERIOUS_FAILURE)])
        first, second = collector.recv(1 << 16), collector.recv(1 << 16)
        sink.close()
    found = MESSAGE.fullmatch(first)
    assert found is not None
    priority, _, _, program, pid, message_id, xml = found.groups()
    assert int(priority) == 10 * 8 + 5
    assert (program, int(pid), message_id) == (b"isthmus", os.getpid(), b"DICOM+RFC3881")
    assert ElementTree.fromstring(xml).tag == "AuditMessage"
    assert second.startswith(b"<83>1 ")


def test_an_event_that_is_too_long_for_a_datagram_leaves_its_counts_out():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as collector:
        collector.bind(("127.0.0.1", 0))
        collector.settimeout(PATIENCE_S)
        sink = open_sink(f"syslog://127.0.0.1:{collector.getsockname()[1]}", "isthmus")
        classes = {f"1.2.840.10008.{number}": 1 for number in range(200)}
        sink.write([an_event(studies={f"1.{number}": classes for number in range(64)})])
        message = collector.recv(1 << 16)
        sink.close()
    assert message.count(b"<ParticipantObjectIdentification") == 64


class Server:
    """Takes one connection after the other, and keeps what comes."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._context = context
        self.port = self._listener.getsockname()[1]
        self.received: list[bytes] = []
        self.messages = threading.Semaphore(0)
        self.connections: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            try:
                if self._context is not None:
                    connection = self._context.wrap_socket(connection, server_side=True)
            except OSError:  # it does not come to terms with a client, or that has gone
                connection.close()
                continue
            self.connections.append(connection)
            threading.Thread(target=self._read, args=(connection,), daemon=True).start()

    def _read(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection.makefile("rb") as stream:
            while length := self._length(stream):
                self.received.append(stream.read(length))
                self.messages.release()

    def _length(self, stream) -> int:
        digits = b""
        while (byte := stream.read(1)) not in (b" ", b""):
            digits += byte
        return int(digits or 0)

    def wait(self) -> bytes:
        assert self.messages.acquire(timeout=PATIENCE_S)
        return self.received[-1]

    def drop(self) -> None:
        """End every connection, as a collector does that is restarted."""
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.drop()
        for connection in self.connections:
            connection.close()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(PATIENCE_S)


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


def test_streams_count_their_octets_and_are_opened_anew(server: Server):
    sink = open_sink(f"syslog+tcp://127.0.0.1:{server.port}", "isthmus")
    assert isinstance(sink, SyslogSink)
    sink.write([told("1")])
    assert MESSAGE.fullmatch(server.wait())
    assert sink._socket is not None
    server.drop()
    assert select.select([sink._socket], [], [], PATIENCE_S)[0]
    sink.write([told("2")])
    assert MESSAGE.fullmatch(server.wait())
    assert len(server.received) == 2
    sink.close()


def test_a_collector_that_is_away_is_an_error_until_it_is_back(server: Server):
    with socket.socket() as gone:
        gone.bind(("127.0.0.1", 0))
        sink = SyslogSink(Collector("tcp", "127.0.0.1", gone.getsockname()[1]), "here", "isthmus")
        with pytest.raises(OSError, match="refused"):
            sink.write([told("1")])
        sink.close()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory) -> tuple[Path, Path]:
    """A certificate for localhost, its own authority, and its key."""
    folder = tmp_path_factory.mktemp("certificates")
    certificate, key = folder / "cert.pem", folder / "key.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
    ]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE_S)
    return certificate, key


def test_tls_checks_the_collector_and_shows_who_sends(certificates):
    certificate, key = certificates
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(certificate))
    context.load_cert_chain(certificate, key)
    context.verify_mode = ssl.CERT_REQUIRED
    server = Server(context)
    try:
        url = f"syslog+tls://127.0.0.1:{server.port}"
        stranger = open_sink(url, "isthmus")
        with pytest.raises(ssl.SSLCertVerificationError):
            stranger.write([told("1")])
        stranger.close()
        known = open_sink(f"{url}?ca={certificate}&cert={certificate}&key={key}", "isthmus")
        known.write([told("1")])
        assert MESSAGE.fullmatch(server.wait())
        known.write([told("2")])
        assert MESSAGE.fullmatch(server.wait())
        known.close()
    finally:
        server.close()


@pytest.mark.parametrize(
    "url",
    [
        "on",
        "file://",
        "file:///folder/",
        "http://host",
        "syslog://",
        "syslog://host:99999",
        "syslog://host/path",
        "syslog://u:p@host",
        "syslog://host?ca=x",
        "syslog+tls://host?what=x",
        f"syslog://{'x' * 70}",
    ],
)
def test_a_sink_that_there_is_not_is_refused_with_what_there_is(url):
    with pytest.raises(SettingError, match="ISTHMUS_AUDIT must be off, stdout"):
        checked(url)


@pytest.mark.parametrize("url", ["file:///proc/nowhere/trail", "syslog+tls://host?ca=/nowhere"])
def test_a_sink_that_cannot_be_opened_is_named(url):
    with pytest.raises(SettingError, match="cannot be used"):
        open_sink(checked(url), "isthmus")
