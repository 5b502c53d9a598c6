"""Requests that a web page of somebody else has a browser make are turned away.

Where nobody has to sign in, what protects a server on this machine is that only programs of the machine can
reach it; where somebody has signed in, the browser signs what it sends. A browser is such a program, and does
what pages of any origin tell it.
"""

import functools
import ipaddress
import re
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from service.dicom.errors import BadRequest
from service.settings import Network
from service.web.cors import Cors
from service.web.problems import problem
from service.web.proxies import forwarded, is_trusted

_LONGEST_ADDRESS = 64  # with the name of an interface behind it (RFC 4007 11)
_READS = frozenset(("GET", "HEAD", "OPTIONS"))
_AUTHORITY = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^:/@\[\]]+)(?::[0-9]{1,5})?")


class HostCheck:
    """Wraps an application: only pages of its own, and of origins that `cors` allows, change anything.

    Unless `names` are `None`, requests must be addressed to this machine by address, as `localhost` or by one
    of `names`: any other name may be somebody's that leads here, which makes a page of theirs one of the same
    origin (DNS rebinding). What comes through a proxy that is `trusted` is addressed to the proxy.
    """

    def __init__(
        self,
        app: ASGIApp,
        cors: Cors,
        *,
        names: Sequence[str] | None,
        trusted: tuple[Network, ...] = (),
        public_url: str = "",
        journal: Callable[[ASGIApp], ASGIApp] = lambda app: app,
    ) -> None:
        """What is turned away is noted by what `journal` puts around its answer; `app` notes the rest."""
        self._app = app
        self._cors = cors
        self._names = names
        self._trusted = trusted
        self._public = urlsplit(public_url).netloc.lower()
        self._journal = journal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            told = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
            status, refusal = 400, ""
            if len(told) > 1:  # RFC 9112 3.2; whoever stands before us may have gone by the other one
                refusal = "There is more than one Host header."
            elif not told and scope["http_version"] == "1.1":
                refusal = "There is no Host header (RFC 9112 3.2)."
            else:
                status, refusal = 403, self._refusal(scope, *told)
            if refusal:
                await self._journal(problem(status, refusal))(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _refusal(self, scope: Scope, host: str = "") -> str:
        """Why a request to `host` is turned away, empty if it is not."""
        peer = scope["client"][0] if scope.get("client") else None
        if self._names is not None and not self._is_here(host, peer):
            return (
                "The Host header names another machine. Ask for 127.0.0.1 or localhost; behind a proxy, name "
                "that in ISTHMUS_TRUSTED_PROXIES, or the name that leads to it in ISTHMUS_PUBLIC_URL."
            )
        if scope["method"] in _READS:
            return ""
        headers = Headers(scope=scope)
        origin = headers.get("origin")
        if origin is None or self._cors.allows(origin):
            return ""
        if origin.partition("://")[2].lower() in self._own(host, peer, headers):
            return ""
        return "Pages of this origin may not make this request (ISTHMUS_CORS)."

    def _is_here(self, authority: str, peer: str | None) -> bool:
        if is_this_machine(authority, self._names or ()):
            return True
        return bool(self._trusted) and is_trusted(peer, self._trusted)

    def _own(self, host: str, peer: str | None, headers: Headers) -> set[str]:
        """Host and port of pages of our own, as their browser may know us."""
        try:
            behind = forwarded(peer, headers, self._trusted).authority
        except BadRequest:  # the application says what is wrong with it
            behind = None
        return {one.lower() for one in (host, behind or "", self._public) if one}


def is_this_machine(authority: str, names: Sequence[str] = ()) -> bool:
    """Whether a Host header names this machine: an address, `localhost`, one of `names`, or nothing."""
    if not authority:
        return True
    told = _AUTHORITY.fullmatch(authority)
    if told is None:
        return False
    host = told["host"].strip("[]").lower()
    return host == "localhost" or host in names or (len(host) <= _LONGEST_ADDRESS and _is_address(host))


# Clients come by the same few addresses for ever.
@functools.lru_cache(maxsize=64)
def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
