"""The archive behind the bridge over HTTPS: whom the bridge believes."""

import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from aiohttp import web

from bridge.archive.remote import RemoteArchive
from bridge.archive.settings import ArchiveSettings, read_archive
from service.dicom.errors import UpstreamFailed, UpstreamTimeout
from service.environment import SettingError
from tests.dimse.dimse_peers import (
    Archive,
    Ground,
    RawPeer,
    StartBridge,
    a_context,
    a_store,
    an_instance,
    data_set_of,
)
from tests.tls.authority import Authority, Issued, self_signed

type Serve = Callable[[Issued], str]


@pytest.fixture
def serve(ground: Ground, archive: Archive) -> Iterator[Serve]:
    """Serves `archive` over HTTPS with a certificate; the root."""
    runners = []

    async def begin(shown: Issued) -> str:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*shown.files)
        application = web.Application(client_max_size=1 << 30)
        application.router.add_post("/dicom-web/studies", archive.handle, expect_handler=archive.expect)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        runners.append(runner)
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        return f"https://127.0.0.1:{runner.addresses[0][1]}/dicom-web"

    yield lambda shown: ground.run(begin(shown))
    for runner in runners:
        ground.run(runner.cleanup())


def status_of_a_store(start_bridge: StartBridge, **given: object) -> int:
    """What a modality is answered whose instance goes to the archive."""
    bridge = start_bridge(**given)
    instance = an_instance(200_000)
    with RawPeer(bridge.address) as peer:
        peer.associate(a_context())
        for encoded in a_store(instance):
            peer.send(encoded)
        return peer.response().status


def test_instances_go_to_an_archive_whose_authority_is_known(
    start_bridge: StartBridge, serve: Serve, archive: Archive, authority: Authority
):
    url = serve(authority.issue("archive"))

    assert status_of_a_store(start_bridge, url=url, ca_file=authority.file) == 0
    assert len(archive.parts) == 1


def test_large_instances_go_there_while_they_arrive(
    start_bridge: StartBridge, serve: Serve, archive: Archive, authority: Authority
):
    bridge = start_bridge(url=serve(authority.issue("archive")), ca_file=authority.file)
    instance = an_instance(12 << 20)

    with RawPeer(bridge.address) as peer:
        peer.associate(a_context())
        for encoded in a_store(instance):
            peer.send(encoded)
        assert peer.response().status == 0

    assert data_set_of(archive.parts[0]) == instance.data


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("another authority", "certificate not trusted: unable to get local issuer certificate"),
        ("another name", "certificate not trusted: IP address mismatch"),
        ("expired", "certificate not trusted: certificate has expired"),
        ("self-signed", "certificate not trusted: self-signed certificate"),
    ],
)
def test_an_archive_that_is_not_the_one_is_sent_nothing(
    ground: Ground,
    start_bridge: StartBridge,
    serve: Serve,
    archive: Archive,
    authority: Authority,
    stranger: Authority,
    tmp_path: Path,
    fault: str,
    message: str,
):
    shown = {
        "another authority": lambda: stranger.issue("archive"),
        "another name": lambda: authority.issue("archive", names=["archive.example.org"]),
        "expired": lambda: authority.issue("late-archive", days=-1),
        "self-signed": lambda: self_signed(tmp_path, "archive"),
    }[fault]()
    url = serve(shown)

    assert status_of_a_store(start_bridge, url=url, ca_file=authority.file) == 0xA700
    assert archive.requests == []
    with pytest.raises(UpstreamFailed, match=message):
        ask(ground, ArchiveSettings(url=url, ca_file=authority.file))


def ask(ground: Ground, settings: ArchiveSettings) -> None:
    async def asked() -> None:
        remote = RemoteArchive(settings)
        try:
            (await remote.open("/studies", {})).close()
        finally:
            await remote.close()

    ground.run(asked())


def test_the_service_beside_is_known_by_its_own_certificate(
    start_bridge: StartBridge, serve: Serve, archive: Archive, tmp_path: Path
):
    """Which is in whatever name, by whatever authority."""
    shown = self_signed(tmp_path, "pacs.example.org")

    assert status_of_a_store(start_bridge, url=serve(shown), own_certificate=shown.certificate) == 0
    assert len(archive.parts) == 1


def test_nobody_else_is_taken_for_it(
    ground: Ground, serve: Serve, archive: Archive, authority: Authority, tmp_path: Path
):
    ours = self_signed(tmp_path, "pacs.example.org")
    url = serve(authority.issue("impostor"))

    with pytest.raises(UpstreamFailed, match="another certificate than ours"):
        ask(ground, ArchiveSettings(url=url, own_certificate=ours.certificate))
    assert archive.requests == []


def test_an_archive_in_clear_is_told_from_one_in_tls(ground: Ground, archive: Archive, authority: Authority):
    url = archive.url.replace("http:", "https:")

    with pytest.raises(UpstreamFailed, match="TLS with the archive fails"):
        ask(ground, ArchiveSettings(url=url, ca_file=authority.file))


def test_an_archive_that_never_shakes_hands_is_given_up(ground: Ground, authority: Authority):
    with silently() as port, pytest.raises(UpstreamTimeout):
        ask(
            ground,
            ArchiveSettings(url=f"https://127.0.0.1:{port}", ca_file=authority.file, connect_s=0.2),
        )


@contextmanager
def silently() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def settings_of(shown: Issued, **told: str) -> ArchiveSettings:
    return read_archive(
        {"ISTHMUS_TLS_CERT": str(shown.certificate), "ISTHMUS_TLS_KEY": str(shown.key), **told}
    )


def test_with_a_certificate_the_service_beside_is_asked_over_https(ours: Issued):
    beside = settings_of(ours, ISTHMUS_PORT="8443")
    named = settings_of(ours, ISTHMUS_ARCHIVE_URL="https://127.0.0.1:8443/dicom-web")
    far = settings_of(ours, ISTHMUS_ARCHIVE_URL="https://archive.example.org/dicom-web")

    assert beside.url == "https://127.0.0.1:8443/dicom-web"
    assert beside.own_certificate == named.own_certificate == ours.certificate
    assert far.own_certificate is None


def test_authorities_that_are_none_refuse_to_start_the_bridge(tmp_path: Path):
    nothing = tmp_path / "ca.pem"
    nothing.write_text("nothing")

    with pytest.raises(SettingError, match="ISTHMUS_ARCHIVE_CA must name a file of certificates"):
        read_archive({"ISTHMUS_ARCHIVE_URL": "https://127.0.0.1/", "ISTHMUS_ARCHIVE_CA": str(nothing)})
