"""The door: whom a request is of, by all the ways to sign in that there are."""

import hmac
import secrets

from service.access.credentials import Bearer, Credentials, Named
from service.access.identity import READ, STORE, Identity
from service.access.keys import Keys
from service.access.passwords import Passwords
from service.access.refusals import NotSignedIn, bad_token
from service.access.settings import BASIC, JWT, AccessSettings
from service.access.shares import Shares, is_share
from service.access.tokens import Expected, Tokens, digest

COMPANION = Identity("bridge", frozenset((READ, STORE)))
"""The bridge that was started together with the service."""


class Door:
    """Knows people by their credentials.

    What is asked first, `known` and `lacks_keys`, takes microseconds. `refresh` waits for the network and
    is for one thread at a time, `identify` takes up to a second of CPU and is for any.
    """

    def __init__(self, settings: AccessSettings) -> None:
        """`OSError`, `BadLine` where a file is gone since the settings were read."""
        self._companion = settings.companion
        self._key = secrets.token_bytes(32)
        named = settings.passwords_file if BASIC in settings.ways else None
        self._passwords = None if named is None else Passwords(named)
        self._tokens = _tokens(settings) if JWT in settings.ways else None
        self.shares = None if settings.share_key_file is None else Shares(settings.share_key_file)
        """Links to studies, where there are keys for them."""

    @property
    def takes_passwords(self) -> bool:
        """Whether people sign in with a name and a password."""
        return self._passwords is not None

    @property
    def takes_tokens(self) -> bool:
        """Whether bearer tokens are of any use."""
        return self._tokens is not None or self.shares is not None

    def digest(self, credentials: Credentials) -> bytes:
        """What tells credentials apart, and nothing else of them."""
        if isinstance(credentials, Bearer):
            return digest(credentials.token)
        told = credentials.name.encode() + b"\0" + credentials.password
        return hmac.digest(self._key, told, "sha256")

    def known(self, credentials: Credentials) -> Identity | None:
        """Whom they are of, if that was found out a short while ago."""
        if isinstance(credentials, Named):
            passwords = self._passwords
            return None if passwords is None else passwords.known(credentials.name, credentials.password)
        if self._companion and hmac.compare_digest(credentials.token, self._companion):
            return COMPANION
        return None if self._tokens is None else self._tokens.known(credentials.token)

    def lacks_keys(self, credentials: Credentials) -> bool:
        """Whether `refresh` has to come before `identify`."""
        if self._tokens is None or isinstance(credentials, Named) or is_share(credentials.token):
            return False
        return self._tokens.lacks_keys(credentials.token)

    def refresh(self, credentials: Credentials) -> None:
        """Have the issuer tell its keys, if it is not too soon after the last time."""
        if self._tokens is not None and isinstance(credentials, Bearer):
            self._tokens.refresh(credentials.token)

    def identify(self, credentials: Credentials) -> Identity:
        """Whom they are of. `NotSignedIn`, `ProviderUnavailable`."""
        if isinstance(credentials, Named):
            if self._passwords is None:
                raise NotSignedIn("Nobody signs in with a password here.")
            return self._passwords.identify(credentials.name, credentials.password)
        if is_share(credentials.token):
            if self.shares is None:
                raise bad_token("Links to studies are of no use here.")
            return self.shares.identify(credentials.token)
        if self._tokens is None:
            raise bad_token("Nobody signs in with a token of this kind here.")
        return self._tokens.identify(credentials.token)


def _tokens(settings: AccessSettings) -> Tokens:
    expected = Expected(
        issuer=settings.issuer,
        audience=settings.audience,
        scope_prefix=settings.scope_prefix,
        studies_claim=settings.studies_claim,
        patients_claim=settings.patients_claim,
        leeway_s=settings.leeway_s,
    )
    return Tokens(expected, Keys(settings.issuer, ca_file=settings.ca_file))
