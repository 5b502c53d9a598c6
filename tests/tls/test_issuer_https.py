"""A provider of identities over HTTPS: its keys are taken from nobody else."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from service.access.keys import Keys
from service.access.refusals import ProviderUnavailable
from tests.access.issuer import Issuer, running_issuer
from tests.tls.authority import Authority, Issued, self_signed


@contextmanager
def provider(shown: Issued) -> Iterator[Issuer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*shown.files)
    with running_issuer(context) as issuer:
        yield issuer


def found(issuer: Issuer, ca_file: Path | None) -> list[str | None]:
    keys = Keys(issuer.url, ca_file=ca_file, timeout_s=20.0)
    keys.refresh("first")
    return [key.kid for key in keys.find("first", "RS256")]


def test_its_keys_are_fetched_where_its_authority_is_named(authority: Authority) -> None:
    with provider(authority.issue("provider")) as issuer:
        assert found(issuer, authority.file) == ["first"]


@pytest.mark.parametrize("named", [False, True])
def test_a_provider_of_an_authority_that_nobody_named_tells_nothing(
    authority: Authority, stranger: Authority, named: bool
) -> None:
    with provider(stranger.issue("provider")) as issuer:
        with pytest.raises(ProviderUnavailable):
            found(issuer, authority.file if named else None)
        assert issuer.asked == []


def test_a_certificate_of_another_host_or_of_itself_or_of_the_past_is_refused(
    authority: Authority, tmp_path: Path
) -> None:
    for shown in (
        authority.issue("elsewhere", names=["login.example.org"]),
        self_signed(tmp_path, "alone"),
        authority.issue("expired", days=-1),
    ):
        with provider(shown) as issuer, pytest.raises(ProviderUnavailable):
            found(issuer, authority.file)
