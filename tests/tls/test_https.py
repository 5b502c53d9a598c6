"""`isthmus up` with certificates: the service, the bridge's HTTP, and what goes between the two."""

import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.dimse.dimse_peers import EXPLICIT_LE, a_store, an_instance
from tests.dimse.dimse_peers import a_context as context_of
from tests.e2e.conftest import PATIENCE_S, Program, free_port
from tests.making import a_data_set, a_file, add_pixels
from tests.tls.authority import Authority, Issued
from tests.tls.clients import SecurePeer, client_context, ran, silent


class Site:
    """Both programs over TLS; `shown` are the files of their certificate."""

    def __init__(self, folder: Path, authority: Authority, shown: Issued) -> None:
        self.authority, self.shown = authority, shown
        self.tls_port = free_port()
        self.settings = {
            "ISTHMUS_TLS_CERT": str(shown.certificate),
            "ISTHMUS_TLS_KEY": str(shown.key),
            "ISTHMUS_DIMSE_TLS_PORT": str(self.tls_port),
            "ISTHMUS_DIMSE_TLS_CERT": str(shown.certificate),
            "ISTHMUS_DIMSE_TLS_KEY": str(shown.key),
            "ISTHMUS_DIMSE_TLS_CLIENT_CA": str(authority.file),
        }
        self.program = Program(folder, "up", **self.settings)
        self._wait_ready()

    def _wait_ready(self) -> None:
        pause = threading.Event()
        for _ in range(int(PATIENCE_S / 0.05)):
            try:
                if self.ask("/readyz")[0].status == 200:
                    return
            except OSError:
                assert self.program.process.poll() is None, self.program.output
            pause.wait(0.05)
        raise AssertionError(f"never ready:\n{self.program.output}")

    def ask(
        self, path: str, *, port: int = 0, method: str = "GET", body: bytes | None = None, **headers: str
    ) -> tuple[http.client.HTTPResponse, bytes]:
        connection = http.client.HTTPSConnection(
            "127.0.0.1", port or self.program.port, timeout=60, context=client_context(self.authority.file)
        )
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, named)
            answer = connection.getresponse()
            return answer, answer.read()
        finally:
            connection.close()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("up"), authority, authority.issue("web"))
    yield site
    site.program.close()


def test_up_tells_of_https(running: Site):
    running.program.wait_for("Try:")
    output = running.program.output

    for text in (
        f"https://127.0.0.1:{running.program.port}/dicom-web",
        f"https://127.0.0.1:{running.program.bridge_port}/peers",
        f"DIMSE/TLS  ISTHMUS at 127.0.0.1:{running.tls_port}",
    ):
        assert text in output


def test_what_is_stored_over_dimse_in_tls_is_had_over_https(running: Site, modality: Issued):
    """The bridge sends it on to the service over HTTPS too, whose certificate has no authority for it."""
    instance = an_instance(300_000)
    with SecurePeer(
        ("127.0.0.1", running.tls_port), client_context(running.authority.file, modality)
    ) as peer:
        peer.associate(context_of(1, instance.sop_class))
        for encoded in a_store(instance):
            peer.send(encoded)
        assert peer.response().status == 0

    _, body = running.ask(f"/dicom-web/instances?SOPInstanceUID={instance.instance}")

    (found,) = json.loads(body)
    assert found["00081190"]["Value"][0].startswith(f"https://127.0.0.1:{running.program.port}/dicom-web/")


def test_frames_come_whole_over_https(running: Site):
    """What is sent out of files in clear has to be encrypted first here."""
    frames = [bytes([number]) * 524_288 for number in range(3)]
    file = a_file(add_pixels(a_data_set(), frames, rows=512, columns=512), EXPLICIT_LE)
    answer, body = running.ask(
        "/dicom-web/studies", method="POST", body=file, Content_Type="application/dicom"
    )
    assert answer.status == 200, body
    url = json.loads(body)["00081199"]["Value"][0]["00081190"]["Value"][0]

    answer, body = running.ask(
        f"{url.partition(str(running.program.port))[2]}/frames/2",
        Accept="application/octet-stream",
    )

    assert (answer.status, body) == (200, frames[1])


def test_the_bridges_http_is_https_too(running: Site):
    answer, body = running.ask("/peers", port=running.program.bridge_port)

    assert (answer.status, body) == (200, b"[]")


def test_the_page_is_told_where_the_bridge_is(running: Site):
    _, body = running.ask("/config.json")

    assert json.loads(body)["bridge"] == f"https://127.0.0.1:{running.program.bridge_port}"


def test_it_agrees_to_http_1_1(running: Site):
    context = client_context(running.authority.file)
    context.set_alpn_protocols(["h2", "http/1.1"])

    with (
        socket.create_connection(("127.0.0.1", running.program.port), 60) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secured,
    ):
        assert secured.selected_alpn_protocol() == "http/1.1"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_curl_is_content(running: Site, version: ssl.TLSVersion):
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    chosen = {"TLSv1_2": "1.2", "TLSv1_3": "1.3"}[version.name]
    url = f"https://127.0.0.1:{running.program.port}/healthz"

    done = ran("curl", "-sS", "--cacert", running.authority.file, "--tls-max", chosen, url)

    assert (done.returncode, done.stderr) == (0, "")


def test_http_in_clear_gets_no_answer(running: Site):
    with socket.create_connection(("127.0.0.1", running.program.port), 60) as plain:
        plain.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert not plain.recv(65536).startswith(b"HTTP")


def test_silent_clients_keep_nobody_waiting(running: Site):
    with silent(("127.0.0.1", running.program.port), 40):
        assert running.ask("/healthz")[0].status == 200
        assert running.ask("/peers", port=running.program.bridge_port)[0].status == 200


def test_health_is_asked_of_https(running: Site):
    environ = {
        **os.environ,
        **running.settings,
        "ISTHMUS_PORT": str(running.program.port),
        "ISTHMUS_DIMSE_PORT": str(running.program.dimse_port),
    }
    done = subprocess.run(
        [sys.executable, "-m", "service", "health"], env=environ, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert f"https://127.0.0.1:{running.program.port}/readyz answers 200" in done.stdout


def test_a_renewed_certificate_is_used_at_once_and_by_everybody(
    tmp_path: Path, authority: Authority, modality: Issued
):
    files = Issued(tmp_path / "tls.crt", tmp_path / "tls.key")
    put(authority.issue("first-web"), files)
    site = Site(tmp_path, authority, files)
    try:
        put(authority.issue("second-web"), files)
        renewed = ssl.PEM_cert_to_DER_cert(files.certificate.read_text())
        for port in (site.program.port, site.program.bridge_port, site.tls_port):
            while certificate_at(port, authority, modality) != renewed:
                pass  # seen within a second
        with SecurePeer(("127.0.0.1", site.tls_port), client_context(authority.file, modality)) as peer:
            instance = an_instance(2_000_000)
            peer.associate(context_of(1, instance.sop_class, EXPLICIT_LE))
            for encoded in a_store(instance):
                peer.send(encoded)
            assert peer.response().status == 0
        with silent(("127.0.0.1", site.program.port), 2):
            site.program.signal(signal.SIGTERM)
            assert site.program.end() == 0
        assert "killed=true" not in site.program.output
    finally:
        site.program.close()


def certificate_at(port: int, authority: Authority, modality: Issued) -> bytes:
    context = client_context(authority.file, modality)
    with (
        socket.create_connection(("127.0.0.1", port), 60) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secured,
    ):
        return secured.getpeercert(binary_form=True) or b""


def put(issued: Issued, place: Issued) -> None:
    for source, target in ((issued.key, place.key), (issued.certificate, place.certificate)):
        copy = target.with_suffix(".new")
        shutil.copyfile(source, copy)
        copy.replace(target)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"ISTHMUS_TLS_KEY": ""}, "ISTHMUS_TLS_CERT is set alone"),
        ({"ISTHMUS_TLS_KEY": "/nowhere"}, "ISTHMUS_TLS_KEY must name a file that can be read"),
    ],
)
def test_a_certificate_that_is_no_good_ends_it_with_a_message(
    tmp_path: Path, authority: Authority, given: dict[str, str], message: str
):
    shown = authority.issue("web")
    files = {"ISTHMUS_TLS_CERT": str(shown.certificate), "ISTHMUS_TLS_KEY": str(shown.key)}
    program = Program(tmp_path, "up", **{**files, **given})
    try:
        assert program.end() == 2
        assert message in program.output
    finally:
        program.close()
