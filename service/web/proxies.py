"""What proxies that are trusted say of the URL that the client used (RFC 7239, X-Forwarded-*)."""

import functools
import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass

from starlette.datastructures import Headers

from service.dicom.errors import BadRequest
from service.settings import AUTHORITY, Network

_PREFIX = re.compile(r"(?:/(?!\.\.?(?:/|$))(?:[A-Za-z0-9._~!$*+=:@-]|%[0-9A-Fa-f]{2})+)*/?")
_LONGEST_PREFIX = 512
_PAIR = re.compile(r'\s*+([A-Za-z]++)\s*+=\s*+(?:"((?:[^"\\]|\\.)*+)"|([^;,\s"]*+))\s*+')
_ELEMENTS = re.compile(r'(?:"(?:[^"\\]|\\.)*(?:"|\\?$)|[^",])+')
_PAIRS = re.compile(r'(?:"(?:[^"\\]|\\.)*(?:"|\\?$)|[^";])+')


@dataclass(frozen=True, slots=True)
class Forwarded:
    """The parts of the client's URL that proxies told; what they did not tell is `None`.

    `authority` is a host, with its port where it is not the scheme's own; `prefix` is the path that was
    taken off before the request came here, without a trailing slash.
    """

    scheme: str | None = None
    authority: str | None = None
    prefix: str = ""


def forwarded(peer: str | None, headers: Headers, trusted: tuple[Network, ...]) -> Forwarded:
    """What `peer` and the proxies before it say, as far as they are `trusted`.

    `BadRequest` for a value that could not be part of a URL: they are written into answers.
    """
    if not trusted or not is_trusted(peer, trusted):
        return Forwarded()
    scheme, authority = _by_standard(headers, trusted)
    hops = _hops(headers, trusted)
    if scheme is None and authority is None:
        scheme = _one(headers, "x-forwarded-proto", hops)
        authority = _one(headers, "x-forwarded-host", hops)
        authority = _with_port(authority, _one(headers, "x-forwarded-port", hops), scheme)
    if scheme is not None and (scheme := scheme.lower()) not in ("http", "https"):
        raise BadRequest("The forwarded protocol must be http or https.")
    if authority is not None and not AUTHORITY.fullmatch(authority):
        raise BadRequest("The forwarded host is malformed.")
    return Forwarded(scheme, authority, _prefix(headers, hops))


def client_of(peer: str | None, headers: Headers, trusted: tuple[Network, ...]) -> str:
    """The address that a request comes from: of `peer`, or what trusted proxies say of their client.

    Empty where it is not known, as on a socket that has no addresses.
    """
    if not trusted or not is_trusted(peer, trusted):
        return peer or ""
    elements = [text for line in headers.getlist("forwarded") for text in _ELEMENTS.findall(line)]
    nodes = [pairs["for"] for text in elements if "for" in (pairs := _pairs(text))]
    client = peer or ""
    for node in reversed(nodes or _list(headers, "x-forwarded-for")):
        address = _address(node)
        if not _is_address(address):
            break
        client = address
        if not is_trusted(address, trusted):
            break
    return client


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


@functools.lru_cache(1024)
def is_trusted(peer: str | None, trusted: tuple[Network, ...]) -> bool:
    """Whether the address `peer` is in one of the networks."""
    try:
        address = ipaddress.ip_address(peer or "")
    except ValueError:
        return False
    address = getattr(address, "ipv4_mapped", None) or address
    return any(address in network for network in trusted)


def _by_standard(headers: Headers, trusted: tuple[Network, ...]) -> tuple[str | None, str | None]:
    """Scheme and authority by `Forwarded` (RFC 7239).

    Each proxy appends an element with the address it was called from: from the right, elements count
    up to the first that came from somebody who is not trusted.
    """
    scheme = authority = None
    elements = [text for line in headers.getlist("forwarded") for text in _ELEMENTS.findall(line)]
    for text in reversed(elements):
        pairs = _pairs(text)
        scheme = pairs.get("proto", scheme)
        authority = pairs.get("host", authority)
        if not is_trusted(_address(pairs.get("for", "")), trusted):
            break
    return scheme, authority


def _pairs(element: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for text in _PAIRS.findall(element):
        match = _PAIR.fullmatch(text)
        if match is not None:
            value = match[3] if match[2] is None else re.sub(r"\\(.)", r"\1", match[2])
            pairs.setdefault(match[1].lower(), value)
    return pairs


def _address(node: str) -> str:
    """The address of a node without its port; IPv6 stands in brackets (RFC 7239 6)."""
    if node.startswith("["):
        return node[1:].partition("]")[0]
    return node.partition(":")[0] if node.count(":") == 1 else node


def _hops(headers: Headers, trusted: tuple[Network, ...]) -> int:
    """How many trusted proxies the request came through: the last, and those it was called by."""
    hops = 1
    for node in reversed(_list(headers, "x-forwarded-for")):
        if not is_trusted(_address(node), trusted):
            break
        hops += 1
    return hops


def _list(headers: Headers, name: str) -> list[str]:
    return [item.strip() for line in headers.getlist(name) for item in line.split(",") if item.strip()]


def _one(headers: Headers, name: str, hops: int) -> str | None:
    """The value that the first of the trusted proxies wrote; each appends its own or writes a single one."""
    values = _list(headers, name)
    return values[-min(hops, len(values))] if values else None


def _with_port(authority: str | None, port: str | None, scheme: str | None) -> str | None:
    if authority is None or port is None:
        return authority
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise BadRequest("The forwarded port is malformed.")
    own = {"http": "80", "https": "443"}.get((scheme or "").lower())
    has_port = ":" in authority.rpartition("]")[2]
    return authority if has_port or port == own else f"{authority}:{port}"


def _prefix(headers: Headers, hops: int) -> str:
    """The paths that trusted proxies took off, the outermost first."""
    told: Sequence[str] = _list(headers, "x-forwarded-prefix")[-hops:]
    for prefix in told:
        if len(prefix) > _LONGEST_PREFIX or not _PREFIX.fullmatch(prefix):
            raise BadRequest("The forwarded prefix is malformed.")
    return "".join(prefix.rstrip("/") for prefix in told)
