"""One log line for each request to the bridge's HTTP, and a number for each route and status; no names."""

import logging
import time
from collections.abc import MutableMapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.web.journal import identify, marked

_log = logging.getLogger("isthmus.control")

_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"))


class Journal:
    """Wraps an application and notes what became of each request, also in `answered`."""

    def __init__(self, app: ASGIApp, answered: MutableMapping[tuple[str, str, int], int]) -> None:
        self._app = app
        self._answered = answered

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = time.perf_counter()
        identity = identify(scope)
        status = 0

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = marked(message["headers"], identity)
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            method = scope["method"] if scope["method"] in _METHODS else "other"
            route = scope.get("route_name", "-")
            noted = (method, route, status)
            self._answered[noted] = self._answered.get(noted, 0) + 1
            quiet = route in ("/healthz", "/readyz", "/metrics") and status < 400
            _log.log(
                logging.DEBUG if quiet else logging.INFO,
                "id=%s method=%s route=%s status=%d ms=%.1f",
                identity,
                method,
                route,
                status,
                1000 * (time.perf_counter() - begun),
            )
