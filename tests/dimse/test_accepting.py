"""Transfer syntaxes that are refused make a sender convert: by peer, and for everybody."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from bridge import hosts
from bridge.peers import Peer, Peers
from bridge.upper.associate import Role, UserInformation
from service.dicom import syntaxes
from tests.dimse.dimse_peers import (
    CT_IMAGE,
    DATA,
    EXPLICIT_LE,
    IMPLICIT_LE,
    VERIFICATION,
    Archive,
    Bridge,
    RawPeer,
    StartBridge,
    a_context,
)

BIG_ENDIAN = syntaxes.EXPLICIT_BE
JPEG, J2K, JPEG_LS, RLE = (syntaxes.ROOT + tail for tail in (".4.50", ".4.90", ".4.80", ".5"))
FAMILY = DATA / "ts" / "ct-family"

# What a list accepts, what is proposed, what comes of it (`None`: refused).
CHOICES: list[tuple[set[str], tuple[str, ...], str | None]] = [
    ({EXPLICIT_LE}, (J2K, EXPLICIT_LE), EXPLICIT_LE),
    ({EXPLICIT_LE, J2K}, (J2K, EXPLICIT_LE), J2K),
    ({EXPLICIT_LE, J2K}, (EXPLICIT_LE, J2K), EXPLICIT_LE),
    ({EXPLICIT_LE, J2K}, (RLE, JPEG, J2K, EXPLICIT_LE), J2K),
    ({J2K}, (EXPLICIT_LE, IMPLICIT_LE, J2K), J2K),
    ({J2K}, (EXPLICIT_LE, IMPLICIT_LE), IMPLICIT_LE),
    ({J2K}, (EXPLICIT_LE, BIG_ENDIAN), None),
    ({BIG_ENDIAN}, (BIG_ENDIAN, IMPLICIT_LE), IMPLICIT_LE),
    ({BIG_ENDIAN}, (BIG_ENDIAN, EXPLICIT_LE), BIG_ENDIAN),
    ({BIG_ENDIAN}, (IMPLICIT_LE, BIG_ENDIAN), IMPLICIT_LE),
    ({J2K}, (JPEG,), None),
    (set(), (EXPLICIT_LE, IMPLICIT_LE), IMPLICIT_LE),
    (set(), (EXPLICIT_LE,), None),
]


def peer_accepting(accepted: set[str]) -> Peers:
    here = hosts.LOOPBACK
    return Peers(
        [
            Peer(
                "ct",
                "CT1",
                "localhost",
                104,
                accept_syntaxes=frozenset({*accepted, IMPLICIT_LE}),
                callers=here,
            )
        ]
    )


def chosen(bridge: Bridge, proposed: tuple[str, ...], calling: bytes, **given) -> str | None:
    with RawPeer(bridge.address) as peer:
        (answer,) = peer.associate(a_context(1, CT_IMAGE, *proposed), calling=calling, **given).contexts
    assert answer.result in (0, 4)
    return answer.syntax if answer.result == 0 else None


@pytest.mark.parametrize(("accepted", "proposed", "comes"), CHOICES)
def test_a_peers_list_is_accepted_in_the_requestors_order(
    start_bridge: StartBridge, accepted, proposed, comes
):
    bridge = start_bridge(peers=peer_accepting(accepted))

    assert chosen(bridge, proposed, b"CT1") == comes
    assert chosen(bridge, proposed, b"OTHER") is not None


@pytest.mark.parametrize(("accepted", "proposed", "comes"), CHOICES)
def test_the_general_list_is_for_whoever_has_none(start_bridge: StartBridge, accepted, proposed, comes):
    everything = set(syntaxes.BY_UID)
    bridge = start_bridge(
        peers=peer_accepting(everything), accept_syntaxes=frozenset({*accepted, IMPLICIT_LE})
    )

    assert chosen(bridge, proposed, b"OTHER") == comes
    assert chosen(bridge, proposed, b"CT1") is not None


def test_lists_are_about_what_is_stored(start_bridge: StartBridge):
    bridge = start_bridge(peers=peer_accepting({J2K}))
    user = UserInformation(max_length=16384, roles=(Role(CT_IMAGE, scu=False, scp=True),))

    with RawPeer(bridge.address) as peer:
        (echo,) = peer.associate(a_context(1, VERIFICATION, EXPLICIT_LE), calling=b"CT1").contexts

    assert echo.result == 0
    assert chosen(bridge, (RLE, EXPLICIT_LE), b"CT1", user=user) == EXPLICIT_LE  # there the peer receives


def stored_syntaxes(archive: Archive) -> list[str]:
    """The transfer syntaxes that the archive's parts name in their file meta information."""
    return [
        part[(at := part.index(b"\x02\x00\x10\x00UI")) + 8 : at + 8 + part[at + 6]].rstrip(b"\0").decode()
        for part in archive.parts
    ]


def sent(bridge: Bridge, program: str, *options: str, path: Path) -> subprocess.CompletedProcess[str]:
    if shutil.which(program) is None:
        pytest.skip(f"DCMTK's {program} is not installed")
    return subprocess.run(
        [program, "-v", "-aet", "CT1", *options, "127.0.0.1", str(bridge.port), str(path)],
        env={**os.environ, "TCP_NODELAY": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def ct_in(syntax: str) -> Path:
    path = next(iter(FAMILY.glob(f"*_{syntax}.dcm")), None) if FAMILY.is_dir() else None
    if path is None:
        pytest.skip(f"the sample objects are not in {DATA}")
    return path


@pytest.mark.parametrize("syntax", [JPEG_LS, RLE, syntaxes.ROOT + ".4.70", syntaxes.DEFLATED])
@pytest.mark.parametrize("accepted", [{EXPLICIT_LE}, set()], ids=["explicit", "implicit only"])
def test_dcmsend_decompresses_what_is_refused(
    start_bridge: StartBridge, archive: Archive, accepted: set[str], syntax: str
):
    bridge = start_bridge(peers=peer_accepting(accepted))

    ran = sent(bridge, "dcmsend", path=ct_in(syntax))

    assert ran.returncode == 0, ran.stderr
    assert stored_syntaxes(archive) == [EXPLICIT_LE if accepted else IMPLICIT_LE]


@pytest.mark.parametrize("syntax", [JPEG_LS, RLE, syntaxes.ROOT + ".4.70", syntaxes.DEFLATED])
def test_dcmsend_sends_what_is_accepted_as_it_is(start_bridge: StartBridge, archive: Archive, syntax: str):
    bridge = start_bridge(peers=peer_accepting({EXPLICIT_LE, syntax}))

    ran = sent(bridge, "dcmsend", path=ct_in(syntax))

    assert ran.returncode == 0, ran.stderr
    assert stored_syntaxes(archive) == [syntax]


@pytest.mark.parametrize(("option", "syntax"), [("-xd", syntaxes.DEFLATED), ("-xb", BIG_ENDIAN)])
def test_storescu_converts_what_is_refused(
    start_bridge: StartBridge, archive: Archive, option: str, syntax: str
):
    bridge = start_bridge(accept_syntaxes=frozenset({EXPLICIT_LE, IMPLICIT_LE}))

    ran = sent(bridge, "storescu", option, path=ct_in(syntax))

    assert ran.returncode == 0, ran.stderr
    assert stored_syntaxes(archive) == [EXPLICIT_LE]
