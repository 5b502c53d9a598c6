"""Associations over TLS that peers ask for (PS3.15 B, PS3.8 9.1)."""

import ssl
import warnings
from pathlib import Path

import pytest
from pynetdicom import AE
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from bridge.upper import pdu
from service.tls import Profile
from tests.dimse.dimse_peers import (
    CT_IMAGE,
    DATA,
    Archive,
    RawPeer,
    a_context,
    a_store,
    an_instance,
    data_set_of,
    still_serves,
)
from tests.dimse.programs import need
from tests.tls.authority import Authority, Issued, self_signed
from tests.tls.clients import SecurePeer, client_context, ran, silent
from tests.tls.conftest import SecureBridge, StartSecure


def test_a_peer_with_a_certificate_stores_over_tls(
    secure: SecureBridge, archive: Archive, authority: Authority, modality: Issued
):
    instance = an_instance(3 << 20)

    with SecurePeer(secure.address, client_context(authority.file, modality)) as peer:
        peer.associate(a_context(1, CT_IMAGE))
        for encoded in a_store(instance):
            peer.send(encoded)
        assert peer.response().status == 0
        peer.send(pdu.release_rq())
        peer.next_pdu()

    assert data_set_of(archive.parts[0]) == instance.data
    report = secure.bridge.report()
    assert (report.result, report.protocol) == ("released", "TLSv1.3")


@pytest.mark.parametrize(
    ("version", "ciphers"),
    [
        (ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES128-GCM-SHA256"),
        (ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES256-GCM-SHA384"),
        (ssl.TLSVersion.TLSv1_3, ""),
    ],
)
def test_what_bcp_195_recommends_is_taken(
    secure: SecureBridge, authority: Authority, modality: Issued, version: ssl.TLSVersion, ciphers: str
):
    context = client_context(authority.file, modality)
    context.minimum_version = context.maximum_version = version
    if ciphers:
        context.set_ciphers(ciphers)

    with SecurePeer(secure.address, context) as peer:
        assert peer.echoes()


@pytest.mark.parametrize(
    ("protocol", "ciphers"),
    [
        ("-tls1", "ALL:@SECLEVEL=0"),
        ("-tls1_1", "ALL:@SECLEVEL=0"),
        ("-tls1_2", "AES128-GCM-SHA256:AES256-GCM-SHA384"),
        ("-tls1_2", "ECDHE-RSA-AES128-SHA256"),
        ("-tls1_2", "DHE-RSA-AES128-GCM-SHA256"),
    ],
    ids=["TLS 1.0", "TLS 1.1", "RSA key exchange", "CBC", "DHE"],
)
def test_what_is_weaker_is_refused(
    start_secure: StartSecure, authority: Authority, protocol: str, ciphers: str
):
    secure = start_secure(shown=authority.issue("rsa", key_bits=2048), authorities=None)

    done = ran(
        need("openssl"),
        "s_client",
        "-connect",
        f"127.0.0.1:{secure.port}",
        protocol,
        "-cipher",
        ciphers,
        text="",
    )

    assert done.returncode != 0
    assert "Cipher is (NONE)" in done.stdout
    assert still_serves(secure.bridge)


@pytest.mark.parametrize("cipher", ["DHE-RSA-AES128-GCM-SHA256", "DHE-RSA-AES256-GCM-SHA384"])
def test_the_legacy_profile_takes_peers_without_elliptic_curves(
    start_secure: StartSecure, authority: Authority, cipher: str
):
    shown = authority.issue("rsa", key_bits=2048)
    secure = start_secure(shown=shown, authorities=None, profile=Profile.LEGACY)
    context = client_context(authority.file)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(cipher)

    with SecurePeer(secure.address, context) as peer:
        assert peer.echoes()


@pytest.mark.parametrize("fault", ["no certificate", "another authority", "expired", "self-signed"])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_caller_without_a_good_certificate_gets_no_association(
    secure: SecureBridge,
    authority: Authority,
    stranger: Authority,
    tmp_path: Path,
    fault: str,
    version: ssl.TLSVersion,
):
    shown = {
        "no certificate": lambda: None,
        "another authority": lambda: stranger.issue("modality"),
        "expired": lambda: authority.issue("late", days=-1),
        "self-signed": lambda: self_signed(tmp_path, "modality"),
    }[fault]()
    context = client_context(authority.file, shown)
    context.minimum_version = context.maximum_version = version

    with (
        pytest.raises((ssl.SSLError, ConnectionError, EOFError)),
        SecurePeer(secure.address, context) as peer,
    ):
        peer.echoes()

    assert still_serves(secure.bridge)
    assert secure.bridge.report().calling == "WATCHER"


def test_without_authorities_no_certificate_is_asked_for(start_secure: StartSecure, authority: Authority):
    secure = start_secure(authorities=None)

    with SecurePeer(secure.address, client_context(authority.file)) as peer:
        assert peer.echoes()


def test_a_peer_that_speaks_in_clear_to_the_port_of_tls_is_hung_up_on(secure: SecureBridge):
    with RawPeer(secure.address) as peer:
        peer.send(bytes((1, 0, 0, 0, 0, 200)) + bytes(200))
        peer.wait_closed()

    assert still_serves(secure.bridge)


def test_a_peer_that_speaks_tls_to_the_port_without_is_aborted(secure: SecureBridge, authority: Authority):
    with pytest.raises((ssl.SSLError, ConnectionError)):
        SecurePeer(secure.bridge.address, client_context(authority.file))

    assert still_serves(secure.bridge)


def test_silent_peers_keep_nobody_waiting(secure: SecureBridge, authority: Authority, modality: Issued):
    with (
        silent(secure.address, 12),
        SecurePeer(secure.address, client_context(authority.file, modality)) as peer,
    ):
        assert peer.echoes()


def test_a_handshake_has_a_deadline(start_secure: StartSecure):
    secure = start_secure(handshake_s=0.2)

    with RawPeer(secure.address) as quiet, RawPeer(secure.address) as dripping:
        dripping.send(b"\x16\x03\x01\x02")
        quiet.wait_closed()
        dripping.wait_closed()


def test_the_oldest_of_too_many_handshakes_is_ended(
    start_secure: StartSecure, authority: Authority, modality: Issued
):
    secure = start_secure(handshakes=3)

    with silent(secure.address, 4) as waiting:
        waiting[0].settimeout(60)
        assert waiting[0].recv(1) == b""
        with SecurePeer(secure.address, client_context(authority.file, modality)) as peer:
            assert peer.echoes()


def test_a_connection_that_is_cut_inside_a_data_set_stores_nothing(
    secure: SecureBridge, archive: Archive, authority: Authority, modality: Issued
):
    instance = an_instance(8 << 20)
    with SecurePeer(secure.address, client_context(authority.file, modality)) as peer:
        peer.associate(a_context(1, CT_IMAGE))
        pdus = a_store(instance)
        for encoded in pdus[: len(pdus) // 2]:
            peer.send(encoded)
        archive.wait_for(lambda: archive.requests)
        peer.plain.close()  # no close_notify
        peer.socket.close()

    archive.wait_for(lambda: archive.broken)
    assert archive.parts == []
    assert secure.bridge.report().result.startswith("lost")


def test_nothing_is_negotiated_twice(start_secure: StartSecure):
    secure = start_secure(authorities=None)

    done = ran(need("openssl"), "s_client", "-connect", f"127.0.0.1:{secure.port}", "-tls1_2", text="R\nQ\n")

    assert "RENEGOTIATING" in done.stderr
    assert "no renegotiation" in done.stderr
    assert still_serves(secure.bridge)


def test_dcmtk_echoes_and_stores_over_tls(
    secure: SecureBridge, archive: Archive, authority: Authority, modality: Issued
):
    paths = [
        path for path in (DATA / "studies").rglob("*.dcm") if path.name.endswith("1.2.840.10008.1.2.1.dcm")
    ]
    if not paths:
        pytest.skip(f"the sample objects are not in {DATA}")
    tls = ["+tls", *reversed(modality.files), "+cf", str(authority.file)]

    echoed = ran(need("echoscu"), *tls, "-aec", "ISTHMUS", "127.0.0.1", secure.port)
    stored = ran(need("storescu"), *tls, "-R", "127.0.0.1", secure.port, *paths)

    assert echoed.returncode == 0, echoed.stderr
    assert stored.returncode == 0, stored.stderr
    assert len(archive.parts) == len(paths)


def test_pynetdicom_echoes_over_tls(secure: SecureBridge, authority: Authority, modality: Issued):
    entity = AE("PYNET")
    entity.add_requested_context(Verification)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        context = client_context(authority.file, modality)
        association = entity.associate("127.0.0.1", secure.address[1], tls_args=(context, "localhost"))
        assert association.is_established
        status = association.send_c_echo()
        association.release()

    assert status.Status == 0
