"""Doors to try: an issuer, users with passwords, keys of links, and sites that have people sign in."""

from collections.abc import Callable, Iterator
from pathlib import Path

import bcrypt
import pytest

from service.access.settings import AccessSettings
from tests.access.issuer import AUDIENCE, Issuer, running_issuer
from tests.sites import Site

KEY = "sXzZ3cGYpXq1bD5uH8oWn2kL7vRt0AeFjQmB4yC6iUE="


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with running_issuer() as running:
        yield running


def hashed(password: str) -> str:
    """A hash as the file has it, of the least cost."""
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()


@pytest.fixture
def passwords_file(tmp_path: Path) -> Path:
    """Alice may do everything, the others what they are called after; everybody's password is `secret`."""
    path = tmp_path / "passwords"
    lines = [f"alice:{hashed('secret')}"]
    lines += [f"{scope}:{hashed('secret')}:{scope}" for scope in ("read", "store", "delete", "render")]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def share_key_file(tmp_path: Path) -> Path:
    path = tmp_path / "share.key"
    path.write_text(KEY + "\n")
    return path


@pytest.fixture
def access(issuer: Issuer, passwords_file: Path, share_key_file: Path) -> AccessSettings:
    """Every way to sign in."""
    return AccessSettings(
        ways=("basic", "jwt"),
        passwords_file=passwords_file,
        issuer=issuer.url,
        audience=AUDIENCE,
        studies_claim="studies",
        patients_claim="patients",
        share_key_file=share_key_file,
    )


@pytest.fixture
def guarded(open_site: Callable[..., Site], access: AccessSettings) -> Site:
    """A site where people have to sign in."""
    return open_site(access=access)
