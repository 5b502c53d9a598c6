"""What became of each request: numbers for the meters, and one log line at its end, of no names.

The line has route, status, sizes, milliseconds by step and the id that the request came with, or was given.
"""

import logging
import re
import secrets
import time
from collections.abc import Iterable, Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.web.limits import ALWAYS
from service.web.metrics import OTHER, Meters
from service.web.timing import SEND, logged, spend, steps_of

_log = logging.getLogger("isthmus.http")

_IDENTITY = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_KEY = "isthmus.request_id"
# What is said to be of a type is of no other, whatever it looks like: an object may begin like a script.
_UNSNIFFED = (b"x-content-type-options", b"nosniff")


class Journal:
    """Wraps an application and notes what became of each request.

    `transactions` names what is counted together, by method and route.
    """

    def __init__(self, app: ASGIApp, meters: Meters, transactions: Mapping[tuple[str, str], str]) -> None:
        self._app = app
        self.meters = meters
        self._transactions = transactions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = time.perf_counter()
        identity = identify(scope)
        status, received, sent, whole = 0, 0, 0, False
        head_s: float | None = None
        steps = steps_of(scope)

        async def count_in() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            return message

        async def count_out(message: Message) -> None:
            nonlocal status, sent, whole, head_s
            if message["type"] == "http.response.start":
                status = message["status"]
                head_s = time.perf_counter() - begun
                message["headers"] = marked(message["headers"], identity)
            elif message["type"] == "http.response.body":
                sent += len(message.get("body", b""))
                whole = not message.get("more_body", False)
            elif message["type"] == "http.response.zerocopysend":
                sent += message["count"]
                whole = not message.get("more_body", False)
            handed_over = time.perf_counter()
            try:
                await send(message)
            finally:
                spend(steps, SEND, handed_over)

        self.meters.begun()
        try:
            await self._app(scope, count_in, count_out)
        finally:
            method, route = scope["method"], scope.get("route_name", "-")
            whole_s = time.perf_counter() - begun
            self.meters.ended(
                self._transactions.get((method, route), OTHER),
                status,
                received=received,
                sent=sent,
                head_s=head_s,
                whole_s=whole_s,
                whole=whole,
                steps=steps,
            )
            # What is asked every few seconds, by those who watch, would bury the rest.
            quiet = route in ALWAYS and status < 400
            _log.log(
                logging.DEBUG if quiet else logging.INFO,
                "id=%s method=%s route=%s status=%d in=%d out=%d ms=%.1f%s%s",
                identity,
                method,
                route,
                status,
                received,
                sent,
                1000 * whole_s,
                logged(steps),
                "" if whole else " broken=true",
            )


def marked(headers: Iterable[tuple[bytes, bytes]], identity: str) -> list[tuple[bytes, bytes]]:
    """The head of an answer with what every answer has: the id of its request, and that its type counts."""
    told = [*headers, (b"x-request-id", identity.encode("ascii"))]
    return told if _UNSNIFFED in told else [*told, _UNSNIFFED]


def identify(scope: Scope) -> str:
    """Give the request the id that it came with, or one of its own; see `request_id`."""
    identity = scope[_KEY] = _given(scope) or secrets.token_hex(6)
    return identity


def request_id(scope: Scope) -> str:
    """What the request is called in the log and in `X-Request-ID` of its answer."""
    identity = scope.get(_KEY, "-")
    assert isinstance(identity, str)
    return identity


def _given(scope: Scope) -> str:
    """The id that the request came with, empty if it has none, several, or one that no log should hold."""
    told = [value for name, value in scope["headers"] if name == b"x-request-id"]
    return told[0].decode("ascii") if len(told) == 1 and _IDENTITY.fullmatch(told[0]) else ""
