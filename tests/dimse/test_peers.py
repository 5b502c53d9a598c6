"""The file of peers: who is known, from where, and what each may do."""

import dataclasses
import re
import socket
import threading
import time
from ipaddress import ip_network
from pathlib import Path

import pytest

from bridge import hosts
from bridge.peers import SERVICES, Peer, Peers, read_peers
from bridge.settings import read_settings
from service.dicom import syntaxes
from service.environment import SettingError
from tests.dimse.dimse_peers import PATIENCE_S

CT = 'ae_title = "CT1"\nhost = "10.0.0.7"\nport = 104\n'


@pytest.fixture
def peers_in(tmp_path: Path):
    """Reads the peers in a TOML text."""

    def read(text: str) -> Peers:
        path = tmp_path / "peers.toml"
        path.write_text(text)
        return read_peers(path)

    return read


def ct(peers: Peers) -> Peer:
    peer = peers.by_name("ct")
    assert peer is not None
    return peer


def test_a_peer_has_what_its_table_says(peers_in):
    peer = ct(
        peers_in(
            '[peers.ct]\nae_title = " CT1 "\nhost = "10.0.0.7"\nport = 104\n'
            'services = ["echo", "store"]\n'
            'accept_syntaxes = ["ExplicitVRLittleEndian", "1.2.840.10008.1.2.4.8*"]\n'
            'prefer_syntax = "JPEG 2000 Lossless"\ntranscode = false\nretrieve = "get"\n'
            'charset = "ISO_IR 100"\nmax_pdu = 16384\nmax_associations = 2\ntimeout_s = 12.5\nstrict = true\n'
        )
    )

    assert peer == Peer(
        name="ct",
        ae_title="CT1",
        host="10.0.0.7",
        port=104,
        services=frozenset({"echo", "store"}),
        accept_syntaxes=frozenset(
            {
                syntaxes.IMPLICIT_LE,
                syntaxes.EXPLICIT_LE,
                "1.2.840.10008.1.2.4.80",
                "1.2.840.10008.1.2.4.81",
            }
        ),
        prefer_syntax="1.2.840.10008.1.2.4.90",
        transcode=False,
        retrieve="get",
        charset="ISO_IR 100",
        max_pdu=16384,
        max_associations=2,
        timeout_s=12.5,
        strict=True,
        callers=(ip_network("10.0.0.7"),),
    )


def test_what_a_table_does_not_say_is_open(peers_in):
    peer = ct(peers_in(f"[peers.ct]\n{CT}"))

    assert peer.services == frozenset(SERVICES)
    assert (peer.transcode, peer.strict) == (True, False)
    assert {peer.accept_syntaxes, peer.max_pdu, peer.max_associations, peer.retrieve, peer.charset} == {None}


@pytest.mark.parametrize("title", ["CT1", "ct1", "  Ct1  ", "CT1\0"])
def test_titles_are_compared_without_case_and_padding(peers_in, title: str):
    peers = peers_in(f"[peers.ct]\n{CT}")

    assert peers.by_ae_title(title) is ct(peers)
    assert peers.caller(title, "10.0.0.7") is ct(peers)
    assert peers.by_ae_title("CT") is None


@pytest.mark.parametrize(
    ("host", "calls_from", "caller", "known"),
    [
        ("10.0.0.7", None, "10.0.0.7", True),
        ("10.0.0.7", None, "::ffff:10.0.0.7", True),
        ("10.0.0.7", None, "10.0.0.8", False),
        ("10.0.0.7", None, "127.0.0.1", False),
        ("::ffff:10.0.0.7", None, "10.0.0.7", True),
        ("fd00::7", None, "fd00:0::7", True),
        ("fe80::7", None, "fe80::7%eth0", True),
        ("127.0.0.1", None, "::1", True),
        ("localhost", None, "127.0.0.1", True),
        ("localhost", None, "::ffff:127.0.0.1", True),
        ("localhost", None, "10.0.0.7", False),
        ("10.0.0.7", '["192.0.2.0/24", "fd00::/8"]', "192.0.2.200", True),
        ("10.0.0.7", '["192.0.2.0/24", "fd00::/8"]', "fd12::1", True),
        ("10.0.0.7", '["192.0.2.0/24"]', "10.0.0.7", False),
        ("10.0.0.7", '["*"]', "203.0.113.9", True),
        ("10.0.0.7", '["*"]', "2001:db8::1", True),
        ("10.0.0.7", "[]", "10.0.0.7", False),
        ("10.0.0.7", None, "", False),
    ],
)
def test_a_title_counts_from_the_peers_own_addresses_only(peers_in, host, calls_from, caller, known):
    peers = peers_in(
        f'[peers.ct]\nae_title = "CT1"\nhost = "{host}"\nport = 104\n'
        + (f"calls_from = {calls_from}\n" if calls_from else "")
    )

    assert (peers.caller("CT1", caller) is not None) is known


@pytest.mark.parametrize(
    ("text", "caller", "host", "allowed"),
    [
        ("", "ANY", "10.0.0.9", {"echo", "store"}),
        ("", "ANY", "127.0.0.1", set(SERVICES)),
        ("", "ANY", "::1", set(SERVICES)),
        ("", "ANY", "::ffff:127.0.0.5", set(SERVICES)),
        ("[unknown]\n", "ANY", "127.0.0.1", set(SERVICES)),
        ("[unknown]\nservices = []", "ANY", "10.0.0.9", set()),
        ('[unknown]\nservices = ["echo", "find"]', "ANY", "10.0.0.9", {"echo", "find"}),
        ('[unknown]\nservices = ["echo"]', "ANY", "127.0.0.1", {"echo"}),
        (f"[peers.ct]\n{CT}", "CT1", "10.0.0.7", set(SERVICES)),
        (f"[peers.ct]\n{CT}", "CT1", "10.0.0.9", {"echo", "store"}),
        (f"[peers.ct]\n{CT}", "CT2", "10.0.0.7", {"echo", "store"}),
        (f'[peers.ct]\n{CT}services = ["store"]', "CT1", "10.0.0.7", {"store"}),
        (f"[peers.ct]\n{CT}services = []", "CT1", "10.0.0.7", set()),
    ],
)
def test_peers_and_strangers_may_do_what_is_theirs(peers_in, text, caller, host, allowed):
    peers = peers_in(text)

    assert {service for service in SERVICES if peers.allows(caller, host, service)} == allowed


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("peer = 1", "'peer'"),
        ("[[rulez]]\nto = []", "'rulez'"),
        ("peers = 1", "peers must be a table"),
        ("[peers]\nct = 1", "peers.ct must be a table"),
        ("[unknown]\nservice = []", "[unknown]: 'service'"),
        ('[unknown]\nservices = ["query"]', "[unknown]: services must be a list of some of echo"),
        ("[unknown]\nservices = 1", "[unknown]: services must be a list"),
        (f"[peers.ct]\n{CT}colour = 1", "[peers.ct]: 'colour'"),
        ('[peers.ct]\nhost = "h"\nport = 1', "[peers.ct]: ae_title is missing"),
        ('[peers.ct]\nae_title = "A"\nport = 1', "[peers.ct]: host is missing"),
        ('[peers.ct]\nae_title = "A"\nhost = "10.0.0.7"', "[peers.ct]: port is missing"),
        ('[peers.ct]\nae_title = "A"\nhost = "a b"\nport = 1', "[peers.ct]: host must be"),
        ('[peers.ct]\nae_title = ""\nhost = "10.0.0.7"\nport = 1', "[peers.ct]: ae_title must be"),
        ('[peers.ct]\nae_title = "   "\nhost = "10.0.0.7"\nport = 1', "[peers.ct]: ae_title must be"),
        ('[peers.ct]\nae_title = "A\\\\B"\nhost = "10.0.0.7"\nport = 1', "[peers.ct]: ae_title must be"),
        ('[peers.ct]\nae_title = "RÖNTGEN"\nhost = "10.0.0.7"\nport = 1', "[peers.ct]: ae_title must be"),
        (f'[peers.ct]\nae_title = "{"A" * 17}"\nhost = "10.0.0.7"\nport = 1', "ae_title must be"),
        ('[peers.ct]\nae_title = "A"\nhost = "10.0.0.7"\nport = 0', "[peers.ct]: port must be"),
        ('[peers.ct]\nae_title = "A"\nhost = "10.0.0.7"\nport = 65536', "[peers.ct]: port must be"),
        ('[peers.ct]\nae_title = "A"\nhost = "10.0.0.7"\nport = "104"', "[peers.ct]: port must be"),
        ('[peers.ct]\nae_title = "A"\nhost = "10.0.0.7"\nport = true', "[peers.ct]: port must be"),
        (f'[peers.ct]\n{CT}services = ["Echo"]', "[peers.ct]: services must be"),
        (f"[peers.ct]\n{CT}services = [1]", "[peers.ct]: services must be"),
        (f'[peers.ct]\n{CT}accept_syntaxes = ["1.2.3"]', "accept_syntaxes must be"),
        (f'[peers.ct]\n{CT}accept_syntaxes = ["1.2.840.113619.5.2"]', "accept_syntaxes must be"),
        (f'[peers.ct]\n{CT}accept_syntaxes = ["JPEG 3000"]', "it is 'JPEG 3000'"),
        (f'[peers.ct]\n{CT}prefer_syntax = "1.2.840.10008.1.2.*"', "prefer_syntax must be one"),
        (f'[peers.ct]\n{CT}retrieve = "push"', "retrieve must be one of get, move"),
        (f"[peers.ct]\n{CT}transcode = 1", "transcode must be true or false"),
        (f'[peers.ct]\n{CT}strict = "no"', "strict must be true or false"),
        (f'[peers.ct]\n{CT}charset = "KLINGON"', "charset must be"),
        (f'[peers.ct]\n{CT}charset = ""', "charset must be"),
        (f"[peers.ct]\n{CT}max_pdu = 0", "max_pdu must be a whole number from 4096 to 131072"),
        (f"[peers.ct]\n{CT}max_associations = 0", "max_associations must be"),
        (f"[peers.ct]\n{CT}timeout_s = 0", "timeout_s must be"),
        (f"[peers.ct]\n{CT}timeout_s = nan", "timeout_s must be"),
        (f"[peers.ct]\n{CT}tls = 1", "[peers.ct]: tls must be true or false"),
        (f'[peers.ct]\n{CT}tls_name = "ct1.example.org"', "tls_name is of use with tls = true only"),
        (f'[peers.ct]\n{CT}tls = true\ntls_name = "a b"', "tls_name must be the name of a host, or *"),
        (f'[peers.ct]\n{CT}tls = true\ntls_ca = "no/file"', "tls_ca must name a file"),
        (f"[peers.ct]\n{CT}tls = true\ntls_cert = '{__file__}'", "tls_key must be there too"),
        (
            f"[peers.ct]\n{CT}tls = true\ntls_ca = '{__file__}'",
            "[peers.ct]: tls_ca must name a file of certificates",
        ),
        (f'[peers.ct]\n{CT}fingerprint = "ab"', "[peers.ct]: fingerprint must be 'sha256:'"),
        (f'[peers.ct]\n{CT}calls_from = ["10.0.0.1/8"]', "calls_from must be"),
        (f"[peers.ct]\n{CT}[peers.b]\n{CT.lower()}", "[peers.b] ae_title is that of [peers.ct] too"),
        ("[peers.ct", "is no TOML"),
    ],
)
def test_what_cannot_be_used_is_named_with_its_place(tmp_path: Path, text: str, said: str):
    path = tmp_path / "peers.toml"
    path.write_text(text)

    with pytest.raises(SettingError, match=re.escape(said)) as raised:
        read_settings({"ISTHMUS_PEERS": str(path)})

    assert str(raised.value).startswith(f"ISTHMUS_PEERS: {path}")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path):
    (tmp_path / "latin.toml").write_bytes(b"# \xe9")

    for path in (tmp_path / "none.toml", tmp_path, tmp_path / "latin.toml"):
        with pytest.raises(SettingError, match="ISTHMUS_PEERS: " + re.escape(str(path))):
            read_settings({"ISTHMUS_PEERS": str(path)})


def test_the_documented_example_can_be_used(peers_in):
    document = (Path(__file__).parents[2] / "docs" / "dimse.md").read_text()
    example = document.split("```toml\n")[1].split("```")[0]

    peers = peers_in(example.replace("ct1.example.org", "192.0.2.21"))

    assert [peer.name for peer in peers] == ["workstation", "ct"]
    assert peers.allows("READING1", "192.0.2.20", "find")
    assert not peers.allows("READING1", "192.0.2.20", "store")
    assert not peers.allows("ANY", "192.0.2.99", "store")


def test_every_key_of_a_peer_is_documented():
    document = (Path(__file__).parents[2] / "docs" / "dimse.md").read_text()
    keys = {each.name for each in dataclasses.fields(Peer)} - {"name", "callers"} | {"calls_from"}

    assert {key for key in keys if f"`{key}`" not in document} == set()


def test_no_file_means_no_peers():
    assert list(read_settings({}).peers) == []


def test_a_host_that_is_not_found_keeps_nobody_from_starting(peers_in, caplog):
    peers = peers_in('[peers.ct]\nae_title = "CT1"\nhost = "ct1.invalid"\nport = 104\n')

    assert peers.by_ae_title("CT1") is not None
    assert peers.caller("CT1", "10.0.0.7") is None
    assert "name=ct" in caplog.text


def test_names_are_looked_up_at_once_and_within_their_time(monkeypatch: pytest.MonkeyPatch):
    go_on = threading.Event()

    def slow(name: str, *_: object, **__: object) -> list[tuple[object, ...]]:
        if name.startswith("slow"):
            go_on.wait(PATIENCE_S)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.7", 0))]

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    begun = time.monotonic()

    found = hosts.look_up(["slow1", "quick", "slow2", "10.0.0.8"], timeout_s=2.0)

    go_on.set()
    assert set(found) == {"quick", "10.0.0.8"}
    assert time.monotonic() - begun < PATIENCE_S / 2


@pytest.mark.parametrize(
    ("given", "uids"),
    [
        ("1.2.840.10008.1.2.1", {".1"}),
        ("1.2.840.10008.1.2.4.8*,1.2.840.10008.1.2.5", {".4.80", ".4.81", ".5"}),
        ("JPEGBaseline8Bit RLELossless  HTJ2KLosslessRPCL", {".4.50", ".5", ".4.202"}),
        ("jpeg-ls-lossless", {".4.80"}),
    ],
)
def test_the_general_list_of_transfer_syntaxes_is_read(given: str, uids: set[str]):
    accepted = read_settings({"ISTHMUS_ACCEPT_SYNTAXES": given}).accept_syntaxes

    assert accepted == frozenset({syntaxes.IMPLICIT_LE}) | {syntaxes.ROOT + tail for tail in uids}


def test_a_pattern_of_everything_is_everything():
    accepted = read_settings({"ISTHMUS_ACCEPT_SYNTAXES": "1.2.840.10008.1.*"}).accept_syntaxes

    assert accepted == frozenset(syntaxes.BY_UID)
    assert read_settings({}).accept_syntaxes is None


@pytest.mark.parametrize("given", ["1.2.3", "JPEG", "1.2.840.10008.1.2.1 1.2.840.10008.9.*"])
def test_a_general_list_that_means_nothing_is_refused(given: str):
    with pytest.raises(SettingError, match="ISTHMUS_ACCEPT_SYNTAXES"):
        read_settings({"ISTHMUS_ACCEPT_SYNTAXES": given})
