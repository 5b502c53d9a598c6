"""One log line per request at its end: route, status, sizes, milliseconds by step, request id; no names."""

import logging
import secrets
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.web.timing import SEND, logged, spend, steps_of

_log = logging.getLogger("isthmus.http")


class Journal:
    """Wraps an application and notes what became of each request."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = time.perf_counter()
        identity = secrets.token_hex(6)
        status, received, sent, whole = 0, 0, 0, False
        steps = steps_of(scope)

        async def count_in() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            return message

        async def count_out(message: Message) -> None:
            nonlocal status, sent, whole
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", identity.encode("ascii"))]
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

        try:
            await self._app(scope, count_in, count_out)
        finally:
            _log.info(
                "id=%s method=%s route=%s status=%d in=%d out=%d ms=%.1f%s%s",
                identity,
                scope["method"],
                scope.get("route_name", "-"),
                status,
                received,
                sent,
                1000 * (time.perf_counter() - begun),
                logged(steps),
                "" if whole else " broken=true",
            )
