"""Requests of web pages from other origins (the Fetch standard's CORS protocol), by `ISTHMUS_CORS`."""

import re
from collections.abc import Sequence

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.web.problems import problem

# What scripts may read of an answer, beside what they may read of any.
EXPOSED = (
    "Content-Type, Content-Location, Content-Length, Content-Range, Warning, ETag, X-Total-Count, "
    "Retry-After, Location, Server-Timing, WWW-Authenticate, X-Request-ID"
)
ALLOWED_HEADERS = "Accept, Authorization, Range, Content-Type, If-Match, If-None-Match, X-Request-ID"
READS = "GET, HEAD, OPTIONS"
METHODS = "GET, HEAD, POST, DELETE, OPTIONS"

_LOOPBACK = re.compile(r"https?://(?:localhost|127\.0\.0\.1|\[::1\])(?::[0-9]{1,5})?")
_MAX_AGE_S = 600
_VARY = (b"vary", b"Origin")
_PREFLIGHT_VARY = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"

type Headers = list[tuple[bytes, bytes]]


class Cors:
    """Wraps an application: answers preflight requests, and says which origins may read the others.

    `allowed` are origins, `loopback` for any port of this machine, or `*` alone for everybody, who may
    then read only, and without credentials.
    """

    def __init__(self, app: ASGIApp, allowed: Sequence[str], *, methods: str = METHODS) -> None:
        """`methods` are those that the application has."""
        self._app = app
        self._methods = methods
        self._anybody = "*" in allowed
        self._loopback = "loopback" in allowed
        self._origins = frozenset(allowed) - {"*", "loopback"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        method, origin, asked = scope["method"], None, None
        for name, value in scope["headers"]:
            if name == b"origin":
                origin = value.decode("latin-1")
            elif name == b"access-control-request-method":
                asked = value.decode("latin-1")
        if method == "OPTIONS" and asked is not None:
            await self._preflight(origin, asked, scope, receive, send)
            return
        added = self._added(origin, method)

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *added]
            await send(message)

        await self._app(scope, receive, with_headers)

    def allows(self, origin: str | None) -> bool:
        """Whether pages of this origin may do more than read."""
        if origin is None:
            return False
        return origin in self._origins or (self._loopback and _LOOPBACK.fullmatch(origin) is not None)

    def _added(self, origin: str | None, method: str) -> Headers:
        """The headers that an answer gets beside its own.

        Everybody gets the same where anybody is allowed; else a cache has to tell origins apart, also
        from requests that name none.
        """
        if self._anybody:
            return _granted("*") if method in ("GET", "HEAD", "OPTIONS") else []
        if origin is None or not self.allows(origin):
            return [_VARY]
        return [_VARY, *_granted(origin), (b"access-control-allow-credentials", b"true")]

    async def _preflight(
        self, origin: str | None, asked: str, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """The answer to the question whether a request would be allowed; nobody has to sign in for it."""
        methods = READS if self._anybody else self._methods
        known = asked in methods.split(", ")
        if origin is None or not known or not (self._anybody or self.allows(origin)):
            detail = "Scripts of this origin may not make this request (ISTHMUS_CORS)."
            answer = problem(403, detail, {"Vary": _PREFLIGHT_VARY})
            await answer(scope, receive, send)
            return
        headers: Headers = [
            (b"access-control-allow-methods", methods.encode("ascii")),
            (b"access-control-allow-headers", ALLOWED_HEADERS.encode("ascii")),
            (b"access-control-max-age", b"%d" % _MAX_AGE_S),
            (b"vary", _PREFLIGHT_VARY.encode("ascii")),
        ]
        if self._anybody:
            headers.append((b"access-control-allow-origin", b"*"))
        else:
            headers.append((b"access-control-allow-origin", origin.encode("latin-1")))
            headers.append((b"access-control-allow-credentials", b"true"))
        await send({"type": "http.response.start", "status": 204, "headers": headers})
        await send({"type": "http.response.body", "body": b""})


def _granted(origin: str) -> Headers:
    return [
        (b"access-control-allow-origin", origin.encode("latin-1")),
        (b"access-control-expose-headers", EXPOSED.encode("ascii")),
        # Pages that isolate themselves for SharedArrayBuffer may use only what says so.
        (b"cross-origin-resource-policy", b"cross-origin"),
    ]
