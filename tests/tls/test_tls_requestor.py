"""Associations over TLS that the bridge asks for (`tls` in ISTHMUS_PEERS)."""

import json
import socket
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bridge import scu
from bridge.peers import Peer, read_peers
from bridge.scp.classes import VERIFICATION
from bridge.scu import Proposal
from bridge.settings import Limits
from bridge.tls import OwnTls, read_own
from service.dicom.errors import UpstreamFailed, UpstreamTimeout
from service.dicom.syntaxes import IMPLICIT_LE
from tests.dimse.dimse_peers import Ground, still_serves
from tests.dimse.programs import need, running
from tests.e2e.conftest import free_port
from tests.tls.authority import Authority, Issued, self_signed
from tests.tls.conftest import SecureBridge, StartSecure

LIMITS = Limits(connect_s=20.0, artim_s=20.0, response_s=20.0)


type Reach = Callable[..., Peer]


@pytest.fixture
def reach(tmp_path: Path) -> Reach:
    """A peer at `port` with these lines, as the file of peers says it; `environ` is the bridge's own."""

    def read(port: int | str, *lines: str, environ: dict[str, str] | None = None) -> Peer:
        path = tmp_path / "peers.toml"
        told = "\n".join(lines)
        path.write_text(
            f'[peers.far]\nae_title = "FAR"\nhost = "127.0.0.1"\nport = {port}\ntls = true\n{told}\n'
        )
        peer = read_peers(path, read_own(environ) if environ else OwnTls()).by_name("far")
        assert peer is not None
        return peer

    return read


def echo(ground: Ground, peer: Peer, limits: Limits = LIMITS) -> int:
    """The status of a C-ECHO to the peer."""

    async def asked() -> int:
        proposals = [Proposal(VERIFICATION, (IMPLICIT_LE,))]
        association = await scu.connect(peer, proposals, limits, calling="ISTHMUS")
        try:
            return await scu.echo(association, 1, timeout_s=limits.response_s)
        finally:
            await association.release()

    return ground.run(asked())


def own(shown: Issued, authorities: Path) -> dict[str, str]:
    """The bridge's own settings."""
    return {
        "ISTHMUS_DIMSE_TLS_CERT": str(shown.certificate),
        "ISTHMUS_DIMSE_TLS_KEY": str(shown.key),
        "ISTHMUS_DIMSE_TLS_CLIENT_CA": str(authorities),
    }


def test_a_peer_is_shown_a_certificate_of_its_own(
    secure: SecureBridge, ground: Ground, reach: Reach, authority: Authority, modality: Issued
):
    lines = [
        f'tls_cert = "{modality.certificate}"',
        f'tls_key = "{modality.key}"',
        f'tls_ca = "{authority.file}"',
    ]

    assert echo(ground, reach(secure.port, *lines)) == 0
    assert secure.bridge.report().protocol == "TLSv1.3"


def test_else_it_is_shown_the_bridges(
    secure: SecureBridge, ground: Ground, reach: Reach, authority: Authority, modality: Issued
):
    assert echo(ground, reach(secure.port, environ=own(modality, authority.file))) == 0


def test_a_peer_that_wants_a_certificate_and_gets_none_says_so(
    secure: SecureBridge, ground: Ground, reach: Reach, authority: Authority
):
    with pytest.raises(UpstreamFailed, match="certificate required"):
        echo(ground, reach(secure.port, f'tls_ca = "{authority.file}"'))


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("another authority", "certificate not trusted: unable to get local issuer certificate"),
        ("expired", "certificate not trusted: certificate has expired"),
        ("self-signed", "certificate not trusted: self-signed certificate"),
        ("another name", "certificate not trusted: IP address mismatch"),
    ],
)
def test_a_peer_whose_certificate_is_no_good_is_asked_nothing(
    start_secure: StartSecure,
    ground: Ground,
    reach: Reach,
    authority: Authority,
    stranger: Authority,
    tmp_path: Path,
    fault: str,
    message: str,
):
    shown = {
        "another authority": lambda: stranger.issue("far"),
        "expired": lambda: authority.issue("late", days=-1),
        "self-signed": lambda: self_signed(tmp_path, "far"),
        "another name": lambda: authority.issue("far", names=["far.example.org"]),
    }[fault]()
    secure = start_secure(shown=shown, authorities=None)

    with pytest.raises(UpstreamFailed, match=message):
        echo(ground, reach(secure.port, f'tls_ca = "{authority.file}"'))


@pytest.mark.parametrize("name", ["*", "far.example.org"])
def test_a_certificate_in_another_name_is_good_where_that_is_said(
    start_secure: StartSecure, ground: Ground, reach: Reach, authority: Authority, name: str
):
    secure = start_secure(shown=authority.issue("far", names=["far.example.org"]), authorities=None)

    peer = reach(secure.port, f'tls_ca = "{authority.file}"', f'tls_name = "{name}"')

    assert echo(ground, peer) == 0


def test_a_certificate_that_is_pinned_needs_no_authority(
    start_secure: StartSecure, ground: Ground, reach: Reach, tmp_path: Path
):
    shown = self_signed(tmp_path, "far")
    secure = start_secure(shown=shown, authorities=None)

    assert echo(ground, reach(secure.port, f'fingerprint = "sha256:{shown.fingerprint}"')) == 0


def test_any_other_certificate_than_the_pinned_one_is_refused(
    secure: SecureBridge, ground: Ground, reach: Reach, authority: Authority, modality: Issued
):
    peer = reach(
        secure.port,
        f'fingerprint = "sha256:{modality.fingerprint}"',
        environ=own(modality, authority.file),
    )

    with pytest.raises(UpstreamFailed, match="certificate is none that its fingerprint says"):
        echo(ground, peer)
    assert still_serves(secure.bridge)
    assert secure.bridge.report().calling in ("", "WATCHER")


def test_a_peer_that_speaks_no_tls_is_told_so(secure: SecureBridge, ground: Ground, reach: Reach):
    with pytest.raises(UpstreamFailed, match="TLS with the peer fails"):
        echo(ground, reach(secure.bridge.port))


def test_a_peer_that_never_shakes_hands_is_given_up(ground: Ground, reach: Reach):
    with listening() as port, pytest.raises(UpstreamTimeout, match="takes no connection"):
        echo(ground, reach(port), Limits(connect_s=0.2))


@contextmanager
def listening() -> Iterator[int]:
    """A port at which connections are taken, and nothing is said."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_dcmtk_answers_over_tls(
    ground: Ground, reach: Reach, authority: Authority, modality: Issued, tmp_path: Path
):
    port = free_port()
    command = [need("storescp"), "+tls", *reversed(modality.files), "+cf", str(authority.file), str(port)]

    with running(command, port, folder=tmp_path):
        status = echo(ground, reach(port, environ=own(authority.issue("bridge-too"), authority.file)))

    assert status == 0


def test_orthanc_is_called_over_tls_and_calls(
    start_secure: StartSecure,
    ground: Ground,
    reach: Reach,
    authority: Authority,
    modality: Issued,
    tmp_path: Path,
):
    secure = start_secure()
    port, http_port = free_port(), free_port()
    configuration = {
        "DicomAet": "FAR",
        "DicomPort": port,
        "HttpPort": http_port,
        "StorageDirectory": str(tmp_path),
        "DicomTlsEnabled": True,
        "DicomTlsCertificate": str(modality.certificate),
        "DicomTlsPrivateKey": str(modality.key),
        "DicomTlsTrustedCertificates": str(authority.file),
        "DicomTlsRemoteCertificateRequired": True,
        "DicomModalities": {
            "bridge": {"AET": "ISTHMUS", "Host": "127.0.0.1", "Port": secure.address[1], "UseDicomTls": True}
        },
    }
    (tmp_path / "orthanc.json").write_text(json.dumps(configuration))

    with running([need("Orthanc"), "orthanc.json"], port, http_port, folder=tmp_path):
        status = echo(ground, reach(port, environ=own(authority.issue("bridge-too"), authority.file)))
        url = f"http://127.0.0.1:{http_port}/modalities/bridge/echo"
        with urllib.request.urlopen(urllib.request.Request(url, b"{}", method="POST"), timeout=60) as answer:
            called = answer.status

    assert (status, called) == (0, 200)
    assert secure.bridge.report().protocol.startswith("TLS")
