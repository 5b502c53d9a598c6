"""The keys that a provider of identities signs with: found by OpenID Connect Discovery, kept, renewed."""

import logging
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from service.access.fetching import NotFetched, document
from service.access.refusals import ProviderUnavailable

log = logging.getLogger("isthmus.access")

ALGORITHMS: Mapping[str, tuple[str, frozenset[str]]] = {
    **{name: ("RSA", frozenset()) for name in ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")},
    "ES256": ("EC", frozenset({"P-256"})),
    "ES384": ("EC", frozenset({"P-384"})),
    "ES512": ("EC", frozenset({"P-521"})),
    "EdDSA": ("OKP", frozenset({"Ed25519", "Ed448"})),
}
"""What tokens may be signed by (RFC 7518 3.1, RFC 8037): the type of key, and its curves.

Only what takes a private key: a provider's public keys are no secrets for HS256 to go by.
"""
FRESH_S = 600.0
"""How long keys are used before they are fetched again."""
STALE_S = 86400.0
"""How long they are used while they cannot be."""
_UNKNOWN_PAUSE_S = 30.0  # between two attempts for the sake of keys that nobody has heard of
_FAILED_PAUSE_S = 5.0
_TIMEOUT_S = 5.0
_MOST_KEYS = 64
_LEAST_RSA_BITS = 2048


@dataclass(frozen=True, slots=True)
class Key:
    """A public key, with what it may be used for."""

    kid: str | None
    kind: str
    curve: str
    algorithm: str | None
    public: Any
    """As PyJWT takes it."""

    def fits(self, algorithm: str) -> bool:
        """Whether signatures of `algorithm` can be its."""
        kind, curves = ALGORITHMS[algorithm]
        own = self.algorithm in (None, algorithm) and self.kind == kind
        return own and (not curves or self.curve in curves)


class Keys:
    """The keys of one issuer. `find` is for any thread, `refresh` for one at a time.

    Nothing is fetched but by `refresh`, which `lacks` says is worth while.
    """

    def __init__(
        self,
        issuer: str,
        *,
        ca_file: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
        timeout_s: float = _TIMEOUT_S,
    ) -> None:
        self._issuer = issuer
        self._ca_file = ca_file
        self._clock = clock
        self._timeout_s = timeout_s
        self._keys: tuple[Key, ...] = ()
        self._fetched_at = float("-inf")
        self._looked_at = float("-inf")
        self._failed = False

    def lacks(self, kid: str | None) -> bool:
        """Whether keys should be fetched before a token of the key `kid` is checked."""
        if not self._usable:
            return True
        if kid is not None and all(key.kid != kid for key in self._keys):
            return True
        return self._clock() - self._fetched_at >= FRESH_S and self._may_look(_UNKNOWN_PAUSE_S)

    def find(self, kid: str | None, algorithm: str) -> list[Key]:
        """The keys that a token may be of; `ProviderUnavailable` where none of the issuer's is known.

        A token that does not name its key may be of any (RFC 7515 4.1.4).
        """
        if not self._usable:
            raise ProviderUnavailable(
                "The provider of identities cannot be reached, so nobody can sign in; try again shortly.",
                retry_after_s=round(_FAILED_PAUSE_S),
            )
        named = [key for key in self._keys if kid is None or key.kid == kid]
        return [key for key in named if key.fits(algorithm)]

    def refresh(self, kid: str | None) -> None:
        """Fetch the keys if `kid` makes that worth while still, and it is not too soon after the last time.

        Where that fails the keys are used on, for a day.
        """
        pause_s = _UNKNOWN_PAUSE_S if self._usable and not self._failed else _FAILED_PAUSE_S
        if not self.lacks(kid) or not self._may_look(pause_s):
            return
        self._looked_at = self._clock()
        try:
            self._keys = self._fetched()
        except NotFetched as error:
            self._failed = True
            log.warning("setting=ISTHMUS_OIDC_ISSUER keys_fetched=false because=%r", str(error))
            return
        self._failed = False
        self._fetched_at = self._clock()
        log.info("keys_fetched=true keys=%d", len(self._keys))

    @property
    def _usable(self) -> bool:
        return bool(self._keys) and self._clock() - self._fetched_at < STALE_S

    def _may_look(self, pause_s: float) -> bool:
        return self._clock() - self._looked_at >= pause_s

    def _fetched(self) -> tuple[Key, ...]:
        about = self._document(self._issuer.rstrip("/") + "/.well-known/openid-configuration", "discovery")
        if about.get("issuer") != self._issuer:  # OpenID Connect Discovery 1.0 4.3
            raise NotFetched("the issuer gives itself another name than the setting (see its end, too)")
        where = about.get("jwks_uri")
        if not isinstance(where, str):
            raise NotFetched("discovery: it names no jwks_uri")
        listed = self._document(where, "jwks_uri").get("keys")
        if not isinstance(listed, list):
            raise NotFetched("jwks_uri: it lists no keys")
        keys = tuple(key for one in listed[:_MOST_KEYS] if (key := key_of(one)) is not None)
        if not keys:
            raise NotFetched("jwks_uri: it lists no key that signatures can be checked by")
        return keys

    def _document(self, url: str, what: str) -> dict[str, Any]:
        try:
            return document(url, ca_file=self._ca_file, timeout_s=self._timeout_s)
        except NotFetched as error:
            raise NotFetched(f"{what}: {error}") from error


def key_of(told: object) -> Key | None:
    """A JSON Web Key (RFC 7517), `None` for one that no signature here is checked by."""
    if not isinstance(told, dict) or told.get("use", "sig") != "sig":
        return None
    operations = told.get("key_ops")
    if isinstance(operations, list) and "verify" not in operations:
        return None
    kind, curve, kid, algorithm = (told.get(name) for name in ("kty", "crv", "kid", "alg"))
    if kind not in ("RSA", "EC", "OKP") or not isinstance(kid, str | None):
        return None
    fitting = [name for name, (kinds, curves) in ALGORITHMS.items() if kind == kinds and _in(curve, curves)]
    if not fitting or (algorithm is not None and algorithm not in fitting):
        return None
    try:
        with warnings.catch_warnings(action="ignore"):  # of keys that are too short
            public = jwt.PyJWK(told, fitting[0]).key
    except (jwt.PyJWTError, ValueError, TypeError, KeyError, AttributeError):
        return None
    if isinstance(public, RSAPublicKey) and public.key_size < _LEAST_RSA_BITS:
        return None
    return Key(kid, kind, curve if isinstance(curve, str) else "", algorithm, public)


def _in(curve: object, curves: frozenset[str]) -> bool:
    return not curves or curve in curves
