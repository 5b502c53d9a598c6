"""Certificates that change while the bridge runs."""

import shutil
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from service.certificates import Credentials, PemFile
from service.environment import SettingError
from service.tls import Contexts, OwnCertificate, ServerTrust, server_contexts
from tests.tls.authority import Authority, Issued
from tests.tls.clients import SecurePeer, client_context
from tests.tls.conftest import StartSecure

type Renew = Callable[[Issued, str], None]


@pytest.fixture(autouse=True)
def always_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are looked at before each handshake."""
    monkeypatch.setattr("service.tls._LOOKED_AT_S", 0.0)


@pytest.fixture
def shown(tmp_path: Path, authority: Authority) -> Issued:
    """A certificate in files that are replaced."""
    return put(authority.issue("first"), Issued(tmp_path / "tls.crt", tmp_path / "tls.key"))


def put(issued: Issued, place: Issued) -> Issued:
    """Replace the files at `place`, each at once, as careful tools do."""
    for source, target in ((issued.key, place.key), (issued.certificate, place.certificate)):
        copy = target.with_suffix(".new")
        shutil.copyfile(source, copy)
        copy.replace(target)
    return place


def credentials(shown: Issued, authorities: Path | None = None) -> Credentials:
    return Credentials(
        PemFile("A_CERT", shown.certificate),
        PemFile("A_KEY", shown.key),
        None if authorities is None else PemFile("A_CA", authorities),
    )


def test_a_renewed_certificate_is_shown_by_the_next_handshake(
    start_secure: StartSecure, authority: Authority, shown: Issued
):
    secure = start_secure(shown=shown, authorities=None)
    before = client_context(authority.file)

    with SecurePeer(secure.address, before) as open_before:
        first = open_before.shown
        put(authority.issue("second"), shown)
        with SecurePeer(secure.address, before) as peer:
            second = peer.shown
        assert open_before.echoes()

    assert first != second == ssl.PEM_cert_to_DER_cert(shown.certificate.read_text())


def test_another_authority_counts_from_the_next_handshake_on(
    start_secure: StartSecure, tmp_path: Path, authority: Authority, stranger: Authority, modality: Issued
):
    trusted = Path(shutil.copyfile(stranger.file, tmp_path / "ca.pem"))
    secure = start_secure(authorities=trusted)
    context = client_context(authority.file, modality)
    with (
        pytest.raises((ssl.SSLError, ConnectionError, EOFError)),
        SecurePeer(secure.address, context) as peer,
    ):
        peer.echoes()

    trusted.write_bytes(stranger.file.read_bytes() + authority.file.read_bytes())

    with SecurePeer(secure.address, context) as peer:
        assert peer.echoes()


@pytest.mark.parametrize("fault", ["no certificate", "cut short", "gone", "of another key"])
def test_files_that_are_no_good_leave_what_was_before(
    authority: Authority, shown: Issued, caplog: pytest.LogCaptureFixture, fault: str
):
    contexts = server_contexts(credentials(shown))
    before = contexts.current()

    if fault == "gone":
        shown.certificate.unlink()
    elif fault == "of another key":
        shutil.copyfile(authority.issue("other").key, shown.key)
    elif fault == "cut short":
        shown.certificate.write_bytes(shown.certificate.read_bytes()[:300])
    else:
        shown.certificate.write_text("nothing")

    with caplog.at_level("ERROR", "isthmus.tls"):
        assert contexts.current() is before
        assert contexts.current() is before
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("certificates settings=A_CERT,A_KEY reloaded=false reason=A_CERT")

    put(authority.issue("third"), shown)
    assert contexts.current() is not before


def test_a_link_that_leads_elsewhere_is_another_file(tmp_path: Path, authority: Authority):
    """As secrets in a cluster are renewed."""
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        put(authority.issue(name), Issued(folder / "tls.crt", folder / "tls.key"))
    link = tmp_path / "data"
    link.symlink_to("one")
    contexts = server_contexts(credentials(Issued(link / "tls.crt", link / "tls.key")))
    before = contexts.current()

    (tmp_path / "next").symlink_to("two")
    (tmp_path / "next").replace(link)

    assert contexts.current() is not before


def test_files_are_not_looked_at_for_each_handshake(
    shown: Issued, authority: Authority, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("service.tls._LOOKED_AT_S", 3600.0)
    contexts = server_contexts(credentials(shown))

    before = contexts.current()
    put(authority.issue("fourth"), shown)

    assert contexts.current() is before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda own: own.certificate.unlink(), r"A_CERT must name a file that can be read"),
        (lambda own: own.key.write_text("x"), r"A_CERT and A_KEY must name a certificate"),
        (lambda own: own.key.unlink(), r"A_KEY must name a file that can be read"),
    ],
)
def test_files_that_are_no_good_refuse_to_start(
    shown: Issued, change: Callable[[Issued], object], message: str
):
    change(shown)

    with pytest.raises(SettingError, match=message):
        server_contexts(credentials(shown))


def test_authorities_that_are_none_refuse_to_start(shown: Issued, tmp_path: Path):
    nothing = tmp_path / "ca.pem"
    nothing.write_text("nothing")

    with pytest.raises(SettingError, match=r"A_CA must name a file of certificates in PEM"):
        server_contexts(credentials(shown, nothing))


def test_a_key_with_a_password_is_refused_and_nobody_is_asked_for_it(shown: Issued):
    from cryptography.hazmat.primitives import serialization as coding

    key = coding.load_pem_private_key(shown.key.read_bytes(), None)
    shown.key.write_bytes(
        key.private_bytes(
            coding.Encoding.PEM, coding.PrivateFormat.PKCS8, coding.BestAvailableEncryption(b"secret")
        )
    )

    with pytest.raises(SettingError, match=r"its key without a password"):
        server_contexts(credentials(shown))


def test_a_key_that_is_too_short_refuses_to_start(authority: Authority):
    with pytest.raises(SettingError, match=r"ee key too small"):
        server_contexts(credentials(authority.issue("weak", key_bits=1024)))


@pytest.mark.parametrize(("days", "warned"), [(200, False), (20, True), (-2, True)])
def test_a_certificate_that_ends_soon_is_told_of(
    authority: Authority, caplog: pytest.LogCaptureFixture, days: int, warned: bool
):
    issued = authority.issue("ending", days=days)

    with caplog.at_level("WARNING", "isthmus.tls"):
        server_contexts(credentials(issued))

    assert bool(caplog.records) is warned


def test_a_clients_authorities_are_read_again_too(tmp_path: Path, authority: Authority, stranger: Authority):
    trusted = Path(shutil.copyfile(stranger.file, tmp_path / "ca.pem"))
    trust = ServerTrust(Credentials(authorities=PemFile("A_CA", trusted)))
    before = trust.context()

    trusted.write_bytes(authority.file.read_bytes())

    assert trust.context() is not before
    assert isinstance(trust._contexts, Contexts)


def test_our_own_certificate_is_known_and_the_one_before_it(authority: Authority, shown: Issued):
    own = OwnCertificate(PemFile("A_CERT", shown.certificate))
    first = shown.fingerprint
    assert own(first)

    put(authority.issue("fifth"), shown)
    second = shown.fingerprint

    assert own(second) and own(first)
    assert not own("") and not own(authority.issue("other").fingerprint)
    put(authority.issue("sixth"), shown)
    assert own(second) and not own(first)
    shown.certificate.unlink()
    assert own(second)
