"""Names and passwords from a file of lines `name:bcrypt hash[:scopes]`, as `htpasswd -B` writes them."""

import hmac
import re
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import bcrypt

from service.access.files import BadLine, Reread, lines_of
from service.access.identity import SCOPES, Identity
from service.access.refusals import NotSignedIn
from service.access.remembered import Remembered

_HASH = re.compile(r"\$2[aby]\$(0[4-9]|1[0-7])\$[./A-Za-z0-9]{53}")
_NAME = re.compile(r"[^\x00-\x20:\x7f][^\x00-\x1f:\x7f]{0,127}")
_COST = 12
_REMEMBERED_S = 300.0
_MOST_REMEMBERED = 1024
_LONGEST = 1024
_COUNTED_BYTES = 72  # bcrypt looks at no more of a password
_NO_GOOD = "The name or the password is wrong."

type Users = Mapping[str, "User"]


@dataclass(frozen=True, slots=True)
class User:
    """One line of the file."""

    identity: Identity
    hashed: bytes


class Passwords:
    """Who may sign in with a name and a password, by a file that is read again when it changes."""

    def __init__(self, path: Path, *, look_s: float = 1.0, clock: Callable[[], float] = time.time) -> None:
        """`OSError`, `BadLine` where the file is no good."""
        self._users = Reread(path, "ISTHMUS_PASSWORDS_FILE", users_of, look_s=look_s)
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._known = Remembered(_MOST_REMEMBERED, clock)
        self._stand_ins: dict[bytes, bytes] = {}

    def known(self, name: str, password: bytes) -> Identity | None:
        """Who this is, if the same was right a short while ago; takes microseconds."""
        user = self._users.value.get(name)
        if user is None or self._known.get(self.digest(name, password, user.hashed)) is None:
            return None
        return user.identity  # which may permit something else by now

    def identify(self, name: str, password: bytes) -> Identity:
        """Who this is; `NotSignedIn`. Takes the time of a bcrypt hash, for names that nobody has too."""
        users = self._users.value
        user = users.get(name)
        hashed = self._stand_in(users) if user is None else user.hashed
        right = _matches(password, hashed)
        if user is None or not right:
            raise NotSignedIn(_NO_GOOD)
        digest = self.digest(name, password, hashed)
        self._known.keep(digest, user.identity, self._clock() + _REMEMBERED_S)
        return user.identity

    def digest(self, name: str, password: bytes, hashed: bytes = b"") -> bytes:
        """A digest of credentials that says nothing outside of this process."""
        told = b"\0".join((hashed, name.encode(), password))
        return hmac.digest(self._key, told, "sha256")

    def _stand_in(self, users: Users) -> bytes:
        """A hash that nothing matches, which takes as long as that of somebody who is known."""
        cost = max((user.hashed[4:6] for user in users.values()), default=b"%02d" % _COST)
        if cost not in self._stand_ins:
            salt = bcrypt.gensalt(int(cost))
            self._stand_ins[cost] = salt + b"." * 31
        return self._stand_ins[cost]


def users_of(text: str) -> Users:
    """The users of a file by name; `BadLine` for a line that is none, or a name that stands twice."""
    users: dict[str, User] = {}
    for number, line in lines_of(text):
        name, hashed, scopes = ([*line.split(":", 2), "", ""])[:3]
        if not _NAME.fullmatch(name):
            raise BadLine(f"line {number} does not begin with a name and a colon")
        if not _HASH.fullmatch(hashed):
            raise BadLine(f"line {number} has no bcrypt hash behind its name (`isthmus password` makes one)")
        if name in users:
            raise BadLine(f"line {number} has a name that stands further up, too")
        identity = Identity(name, _scopes(scopes, number))
        # The letter tells apart programs that once made mistakes; what they write is the same.
        users[name] = User(identity, b"$2b$" + hashed[4:].encode("ascii"))
    return users


def line_for(name: str, password: str) -> str:
    """The line of the file for somebody who may do everything; `BadLine` for what cannot be one."""
    if not _NAME.fullmatch(name) or name.startswith("#") or name != name.strip():
        raise BadLine("a name is 1 to 128 characters without a colon, and does not begin with #")
    told = password.encode()
    if not 1 <= len(told) <= _COUNTED_BYTES:
        raise BadLine(f"a password is 1 to {_COUNTED_BYTES} bytes long")
    if b"\0" in told:
        raise BadLine("a password holds no NUL")
    return f"{name}:{bcrypt.hashpw(told, bcrypt.gensalt(_COST)).decode('ascii')}"


def _matches(password: bytes, hashed: bytes) -> bool:
    """Whether it is this password. One that can be nobody's takes as long."""
    usable = 0 < len(password) <= _LONGEST and b"\0" not in password
    # As htpasswd does: beyond 72 bytes nothing counts.
    counted = password[:_COUNTED_BYTES] if usable else b"."
    return bcrypt.checkpw(counted, hashed) and usable


def _scopes(told: str, number: int) -> frozenset[str]:
    scopes = frozenset(told.replace(",", " ").split())
    if not scopes <= frozenset(SCOPES):
        raise BadLine(f"line {number} permits what is none of {', '.join(SCOPES)}")
    return scopes or frozenset(SCOPES)
