"""Peers that are known by their certificates (`fingerprint` in ISTHMUS_PEERS)."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bridge.peers import Peers, read_peers
from bridge.upper.negotiation import CALLING_AE_UNKNOWN
from service.environment import SettingError
from tests.dimse.dimse_peers import RawPeer, a_request
from tests.tls.authority import Authority, Issued
from tests.tls.clients import SecurePeer, client_context
from tests.tls.conftest import StartSecure

type WritePeers = Callable[..., Peers]


@pytest.fixture
def write_peers(tmp_path: Path) -> WritePeers:
    """Peers at addresses that nobody has here: CT1 with these lines, and CT2."""

    def write(*lines: str) -> Peers:
        path = tmp_path / "peers.toml"
        at = 'host = "192.0.2.1"\nport = 104\nservices = ["find"]'
        own = "\n".join(lines)
        text = f'[peers.ct1]\nae_title = "CT1"\n{at}\n{own}\n[peers.ct2]\nae_title = "CT2"\n{at}\n'
        path.write_text(text)
        return read_peers(path)

    return write


@pytest.fixture
def bound(write_peers: WritePeers, modality: Issued) -> Peers:
    return write_peers(f'fingerprint = "sha256:{modality.fingerprint}"')


@pytest.mark.parametrize(
    "shape", ['"sha256:{}"', '["sha256:{}"]', '["sha256:' + "0" * 64 + '", "SHA256:{}"]']
)
def test_a_caller_is_known_by_its_certificate_wherever_it_calls_from(
    write_peers: WritePeers, modality: Issued, shape: str
):
    shown = modality.fingerprint.upper()
    colons = ":".join(shown[at : at + 2] for at in range(0, 64, 2))

    peers = write_peers(f"fingerprint = {shape.format(colons)}")

    peer = peers.caller(" ct1 ", "203.0.113.9", modality.fingerprint)
    assert peer is not None and peer.name == "ct1"
    assert peers.caller("CT1", "192.0.2.1") is None
    assert peers.allows("CT1", "203.0.113.9", "find", modality.fingerprint)
    assert not peers.allows("CT1", "203.0.113.9", "store", modality.fingerprint)


def test_where_it_calls_from_counts_too_if_that_is_said(write_peers: WritePeers, modality: Issued):
    peers = write_peers(f'fingerprint = "sha256:{modality.fingerprint}"', 'calls_from = ["10.1.0.0/16"]')

    assert peers.caller("CT1", "10.1.2.3", modality.fingerprint) is not None
    assert peers.caller("CT1", "10.2.2.3", modality.fingerprint) is None


@pytest.mark.parametrize(
    "given", ['"' + "0" * 64 + '"', '"sha256:00"', '"sha1:' + "0" * 40 + '"', "7", '["sha256:x"]']
)
def test_what_is_no_fingerprint_refuses_to_start(write_peers: WritePeers, given: str):
    with pytest.raises(SettingError, match=r"\[peers.ct1\]: fingerprint must be"):
        write_peers(f"fingerprint = {given}")


@pytest.mark.parametrize(
    ("calling", "shows", "taken"),
    [
        ("CT1", True, True),
        ("ct1", True, True),
        ("CT1", False, False),
        ("CT2", True, False),
        ("ANY", True, False),
        ("ANY", False, True),
    ],
)
def test_title_and_certificate_must_agree(
    start_secure: StartSecure,
    authority: Authority,
    modality: Issued,
    bound: Peers,
    calling: str,
    shows: bool,
    taken: bool,
):
    secure = start_secure(peers=bound)
    shown = modality if shows else authority.issue("unbound")

    with SecurePeer(secure.address, client_context(authority.file, shown)) as peer:
        peer.send(a_request(calling=calling.encode()).encode())
        if taken:
            assert peer.next_pdu()[0] == 2
        else:
            assert peer.rejection() == CALLING_AE_UNKNOWN


def test_nobody_calls_in_clear_by_a_title_that_is_bound(start_secure: StartSecure, bound: Peers):
    secure = start_secure(peers=bound)

    with RawPeer(secure.bridge.address) as peer:
        peer.send(a_request(calling=b"CT1").encode())
        assert peer.rejection() == CALLING_AE_UNKNOWN
