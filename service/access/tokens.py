"""Tokens of an OpenID provider (RFC 7519, RFC 9068): whom they are of, and what they permit."""

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jwt

from service.access.identity import SCOPES, Identity
from service.access.keys import ALGORITHMS, Key, Keys
from service.access.refusals import NotSignedIn, bad_token
from service.access.remembered import Remembered
from service.dicom.confinement import Confinement

PREFIX = "dicom:"
"""What scopes may begin with where no prefix is set."""
_SCOPE_CLAIMS = ("scope", "scp", "roles")
_TYPES = (None, "jwt", "at+jwt", "application/at+jwt")
_REMEMBERED_S = 300.0  # then it is checked again: its key may have been withdrawn
_MOST_REMEMBERED = 4096
_LONGEST_NAME = 200
_LATEST = 1e11  # seconds since 1970, some thousand years from here
_LONGEST_VALUE = 256


@dataclass(frozen=True, slots=True)
class Expected:
    """What tokens have to say, and which of their claims are gone by."""

    issuer: str
    audience: str
    scope_prefix: str = ""
    studies_claim: str = ""
    patients_claim: str = ""
    leeway_s: float = 60.0


class Tokens:
    """Who may sign in with tokens of one issuer."""

    def __init__(self, expected: Expected, keys: Keys, *, clock: Callable[[], float] = time.time) -> None:
        self._expected = expected
        self._keys = keys
        self._clock = clock
        self._known = Remembered(_MOST_REMEMBERED, clock)

    def known(self, token: str) -> Identity | None:
        """Whose token this is, if it was found good a short while ago; takes microseconds."""
        return self._known.get(digest(token))

    def lacks_keys(self, token: str) -> bool:
        """Whether `refresh` should come before `identify`; false for what is no token."""
        try:
            return self._keys.lacks(_kid(_header(token)))
        except NotSignedIn:
            return False

    def refresh(self, token: str) -> None:
        """Fetch keys for this token; see `Keys.refresh`."""
        self._keys.refresh(_kid(_header(token)))

    def identify(self, token: str) -> Identity:
        """Whose token this is. `NotSignedIn`, `ProviderUnavailable`."""
        claims = self._claims(token)
        expires = float(claims["exp"])
        identity = Identity(
            name_of(claims), self._scopes(claims), confinement_of(claims, self._expected), expires
        )
        now = self._clock()
        self._known.keep(digest(token), identity, min(expires + self._expected.leeway_s, now + _REMEMBERED_S))
        return identity

    def _claims(self, token: str) -> Mapping[str, Any]:
        header = _header(token)
        algorithm = header["alg"]
        refusal = bad_token("The token is signed by a key that the issuer does not have.")
        for key in self._keys.find(_kid(header), algorithm):
            try:
                return self._decoded(token, key, algorithm)
            except jwt.InvalidSignatureError:
                refusal = bad_token("The token's signature is wrong.")
            except jwt.PyJWTError as error:
                raise bad_token(_told(error)) from None
            except (ValueError, TypeError, OverflowError):
                raise bad_token("The token is malformed.") from None
        raise refusal

    def _decoded(self, token: str, key: Key, algorithm: str) -> Mapping[str, Any]:
        expected = self._expected
        claims: dict[str, Any] = jwt.decode(
            token,
            key.public,
            algorithms=[algorithm],
            audience=expected.audience,
            issuer=expected.issuer,
            leeway=expected.leeway_s,
            options={
                "require": ["exp", "iss", "aud"],
                "verify_exp": False,
                "verify_nbf": False,
                "verify_iat": False,
            },
        )
        self._require_time(claims)
        return claims

    def _require_time(self, claims: Mapping[str, Any]) -> None:
        """The times of RFC 7519 4.1.4 to 4.1.6, by our clock and within the leeway."""
        now, leeway_s = self._clock(), self._expected.leeway_s
        times = {name: claims[name] for name in ("exp", "nbf", "iat") if name in claims}
        if not all(type(one) in (int, float) and abs(one) < _LATEST for one in times.values()):
            raise bad_token("The token has a time that is no number.")
        if not now < times["exp"] + leeway_s:
            raise bad_token("The token has expired.")
        if times.get("nbf", now) > now + leeway_s or times.get("iat", now) > now + leeway_s:
            raise bad_token("The token is of a time that has not come yet.")

    def _scopes(self, claims: Mapping[str, Any]) -> frozenset[str]:
        told: set[str] = set()
        for claim in _SCOPE_CLAIMS:
            value = claims.get(claim)
            if isinstance(value, str):
                told.update(value.split())
            elif isinstance(value, list):
                told.update(one for one in value if isinstance(one, str))
        prefixes = (self._expected.scope_prefix,) if self._expected.scope_prefix else ("", PREFIX)
        return frozenset(scope for scope in SCOPES if any(prefix + scope in told for prefix in prefixes))


def digest(token: str) -> bytes:
    """What a token is remembered by."""
    return hashlib.sha256(token.encode("ascii")).digest()


def name_of(claims: Mapping[str, Any]) -> str:
    """What somebody is called: by name, if the token tells one, and by `sub`, which is nobody else's."""
    subject = _printable(claims.get("sub")) or _printable(claims.get("client_id")) or "-"
    name = _printable(claims.get("preferred_username"))
    return f"{name} ({subject})" if name and name != subject else subject


def confinement_of(claims: Mapping[str, Any], expected: Expected) -> Confinement | None:
    """What the claims confine somebody to, `None` if they say nothing of it.

    `NotSignedIn` for a claim that is neither a text nor a list of texts: it was meant to say something.
    """
    studies = _values(claims, expected.studies_claim)
    patients = _values(claims, expected.patients_claim)
    if studies is None and patients is None:
        return None
    return Confinement(studies=studies, patients=patients)


def _values(claims: Mapping[str, Any], claim: str) -> frozenset[str] | None:
    if not claim or claim not in claims:
        return None
    value = claims[claim]
    values: Sequence[object] = (
        [value] if isinstance(value, str) else value if isinstance(value, list) else [None]
    )
    texts = [one for one in values if isinstance(one, str) and 0 < len(one) <= _LONGEST_VALUE]
    if len(texts) != len(values):
        raise bad_token(f"The token's claim {claim!r} is no text, and no list of texts.")
    return frozenset(texts)


def _header(token: str) -> Mapping[str, Any]:
    """The header of a token that may be checked at all (RFC 7515 4.1, RFC 8725 3.1)."""
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
        raise bad_token("The token is no JSON Web Token.") from None
    if header.get("alg") not in ALGORITHMS:
        raise bad_token("The token is not signed, or by an algorithm that is not taken here.")
    kind = header.get("typ")
    if not isinstance(kind, str | None) or (kind and kind.lower()) not in _TYPES:
        raise bad_token("The token is of a type that is not taken here.")
    if "crit" in header or "b64" in header:
        raise bad_token("The token asks for extensions that are not known here.")
    return header


def _kid(header: Mapping[str, Any]) -> str | None:
    kid = header.get("kid")
    if not isinstance(kid, str | None):
        raise bad_token("The token's kid is no text.")
    return kid


def _printable(value: object) -> str:
    if not isinstance(value, str):
        return ""
    return "".join(letter for letter in value[:_LONGEST_NAME] if letter.isprintable()).strip()


def _told(error: jwt.PyJWTError) -> str:
    """Why a token is refused, in words that hold nothing of it."""
    if isinstance(error, jwt.InvalidAudienceError):
        return "The token is for somebody else (aud)."
    if isinstance(error, jwt.InvalidIssuerError):
        return "The token is of another issuer (iss)."
    if isinstance(error, jwt.MissingRequiredClaimError):
        return f"The token has no {error.claim}."
    return "The token is malformed."
