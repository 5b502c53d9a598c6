"""Who may ask: requests that a web page of somebody else has a browser make are turned away.

The bridge's HTTP asks nobody to sign in, so what protects it on this machine is that only programs of the
machine can reach it. A browser is such a program, and does what pages of any origin tell it.
"""

import re
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from bridge import hosts
from service.web.cors import Cors
from service.web.problems import problem

_READS = frozenset(("GET", "HEAD", "OPTIONS"))
_AUTHORITY = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^:/@\[\]]+)(?::[0-9]{1,5})?")


class Guard:
    """Wraps an application: only pages of origins that `cors` allows change anything.

    Unless `any_host`, requests must be addressed to this machine by address or as `localhost`: a name of
    somebody else's that leads here makes a page of theirs one of the same origin (DNS rebinding).
    """

    def __init__(
        self, app: ASGIApp, cors: Cors, journal: Callable[[ASGIApp], ASGIApp], *, any_host: bool
    ) -> None:
        """What is turned away is noted by `journal`; `app` notes the rest."""
        self._app = app
        self._cors = cors
        self._journal = journal
        self._any_host = any_host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (refusal := self._refusal(scope["method"], Headers(scope=scope))):
            await self._journal(problem(403, refusal))(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _refusal(self, method: str, headers: Headers) -> str:
        """Why the request is turned away, empty if it is not."""
        told = headers.getlist("host")
        if len(told) > 1:  # RFC 9112 3.2; whoever stands before us may have gone by the other one
            return "There is more than one Host header."
        if not self._any_host and not all(map(is_this_machine, told)):
            return (
                "The Host header names another machine. Ask for 127.0.0.1 or localhost; behind a proxy that "
                "authenticates, write ISTHMUS_AUTH='none!'."
            )
        origin = headers.get("origin")
        if method in _READS or origin is None or self._cors.allows(origin):
            return ""
        if origin.partition("://")[2] != headers.get("host", ""):  # else a page of our own, through a proxy
            return "Pages of this origin may not make this request (ISTHMUS_CORS)."
        return ""


def is_this_machine(authority: str) -> bool:
    """Whether a Host header names this machine: an address, `localhost`, or nothing."""
    if not authority:
        return True
    told = _AUTHORITY.fullmatch(authority)
    if told is None:
        return False
    host = told["host"].strip("[]").lower()
    return host == "localhost" or hosts.address(host) is not None
