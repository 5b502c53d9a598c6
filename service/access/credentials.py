"""What a request says of who it is: the Authorization header (RFC 7617, RFC 6750)."""

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass

from service.access.refusals import NotSignedIn

LONGEST_TOKEN = 16 << 10
_LONGEST_BASIC = 4096
_TOKEN = re.compile(rb"[A-Za-z0-9._~+/-]+=*")


@dataclass(frozen=True, slots=True)
class Named:
    """A name with a password, as it came over the wire."""

    name: str
    password: bytes


@dataclass(frozen=True, slots=True)
class Bearer:
    """A token: whoever has it may use it."""

    token: str


type Credentials = Named | Bearer


def credentials_of(told: Sequence[bytes]) -> Credentials | None:
    """The credentials in the Authorization headers of a request, `None` if it has none.

    `NotSignedIn` for a header that is malformed, of another scheme, or not the only one: whoever stands
    before us may have gone by the other one.
    """
    if not told:
        return None
    if len(told) > 1:
        raise NotSignedIn("There is more than one Authorization header.", "invalid_request")
    scheme, _, given = told[0].partition(b" ")
    given = given.strip(b" ")
    if scheme.lower() == b"bearer":
        return bearer(given)
    if scheme.lower() == b"basic":
        return _named(given)
    raise NotSignedIn("The Authorization header is of a scheme that is not known here.")


def bearer(token: bytes) -> Bearer:
    """A bearer token; `NotSignedIn` for what cannot be one."""
    if len(token) > LONGEST_TOKEN:
        raise NotSignedIn("The token is longer than 16 KiB.", "invalid_token")
    if not _TOKEN.fullmatch(token):
        raise NotSignedIn("The token is malformed.", "invalid_token")
    return Bearer(token.decode("ascii"))


def _named(given: bytes) -> Named:
    malformed = NotSignedIn("The Authorization header is malformed.")
    if len(given) > _LONGEST_BASIC:
        raise malformed
    try:
        told = base64.b64decode(given, validate=True)
    except binascii.Error:
        raise malformed from None
    name, colon, password = told.partition(b":")
    if not colon:
        raise malformed
    try:
        return Named(name.decode("utf-8"), password)
    except UnicodeDecodeError:
        return Named(name.decode("latin-1"), password)
