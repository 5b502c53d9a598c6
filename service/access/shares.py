"""Links to one study, good until they expire: tokens that are signed with a key of our own (HS256).

A file holds the keys, one a line: the first signs, all of them are gone by, so that keys are changed by
putting another one before them, and links are ended by taking theirs away.
"""

import hashlib
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt

from service.access.files import BadLine, Reread, lines_of
from service.access.identity import READ, RENDER, Identity
from service.access.refusals import bad_token
from service.dicom.confinement import Confinement

LONGEST_S = 30 * 86400
"""The longest life of a link."""
LEAST_S = 10
PASSING_S = 300
"""Up to here it is no link to give away, but one's own way to what one may read, as for a download."""
_TYPE = "share+jwt"
_ISSUER = "isthmus"
_ALGORITHM = "HS256"
_LEAST_BYTES = 32
_SCOPES = frozenset((READ, RENDER))


@dataclass(frozen=True, slots=True)
class Share:
    """A link to a study: its token, and when it ends, in seconds since 1970."""

    token: str
    expires: int


class Shares:
    """Makes links, and knows those that were made with the keys of a file."""

    def __init__(self, path: Path, *, look_s: float = 1.0, clock: Callable[[], float] = time.time) -> None:
        """`OSError`, `BadLine` where the file is no good."""
        self._keys = Reread(path, "ISTHMUS_SHARE_KEY_FILE", keys_of, look_s=look_s)
        self._clock = clock

    def made(self, study: str, life_s: int) -> Share:
        """A link to a study for `life_s` seconds, which its maker has checked."""
        kid, key = next(iter(self._keys.value.items()))
        now = int(self._clock())
        claims = {
            "iss": _ISSUER,
            "study": study,
            "iat": now,
            "exp": now + life_s,
            "jti": secrets.token_hex(8),
        }
        token = jwt.encode(claims, key, algorithm=_ALGORITHM, headers={"typ": _TYPE, "kid": kid})
        return Share(token, now + life_s)

    def identify(self, token: str) -> Identity:
        """Whom the link makes of somebody; `NotSignedIn`."""
        try:
            key = self._keys.value.get(str(jwt.get_unverified_header(token).get("kid")))
            if key is None:
                raise bad_token("The link is not valid any more.")
            claims = jwt.decode(
                token,
                key,
                algorithms=[_ALGORITHM],
                issuer=_ISSUER,
                options={"require": ["exp", "jti", "study"], "verify_exp": False, "verify_iat": False},
            )
            return self._identity(claims)
        except (jwt.PyJWTError, ValueError, TypeError):
            raise bad_token("The link is damaged.") from None

    def _identity(self, claims: Mapping[str, Any]) -> Identity:
        if claims["exp"] <= self._clock():
            raise bad_token("The link has expired.")
        confinement = Confinement(studies=frozenset({claims["study"]}))
        return Identity(f"share {claims['jti']}", _SCOPES, confinement, float(claims["exp"]))


def is_share(token: str) -> bool:
    """Whether a token says of itself that it is a link's."""
    try:
        return jwt.get_unverified_header(token).get("typ") == _TYPE
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
        return False


def keys_of(text: str) -> Mapping[str, bytes]:
    """The keys of a file by what tokens call them; `BadLine` for one that could be guessed."""
    keys: dict[str, bytes] = {}
    for number, line in lines_of(text):
        key = line.encode()
        if len(key) < _LEAST_BYTES or len(set(key)) < _LEAST_BYTES // 4:
            raise BadLine(f"line {number} is no key: 32 characters at least (`openssl rand -base64 32`)")
        keys[hashlib.sha256(b"isthmus share " + key).hexdigest()[:16]] = key
    if not keys:
        raise BadLine("it has no key (`openssl rand -base64 32` makes one)")
    return keys


def permitted_life(identity: Identity, life_s: int, now: float) -> int:
    """How long a link that somebody makes may live: not beyond themselves, where it is a passing one."""
    if life_s > PASSING_S or identity.until is None:
        return life_s
    return min(life_s, max(int(identity.until - now), 0))
