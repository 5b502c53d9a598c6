"""A step for each request, as a part of the trace that the client says it belongs to."""

from collections.abc import Callable, Hashable, Mapping
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service import tracing
from service.pixels.workshop import Workshop
from service.web.journal import request_id
from service.web.limits import ALWAYS
from service.web.metrics import OTHER

_TRACEPARENT = tracing.TRACEPARENT.encode("ascii")
_METHODS = frozenset(("GET", "HEAD", "POST", "DELETE", "OPTIONS"))


class Traced:
    """Wraps an application; attributes are named by OpenTelemetry's conventions for HTTP servers.

    Neither path nor query is among them: they hold what somebody looks for.
    """

    def __init__(self, app: ASGIApp, transactions: Mapping[tuple[str, str], str]) -> None:
        self._app = app
        self._transactions = transactions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].rstrip("/") in ALWAYS:
            await self._app(scope, receive, send)
            return
        method = scope["method"] if scope["method"] in _METHODS else "_OTHER"
        with tracing.span(method, "server", parent=_parent(scope)) as step:
            sent = 0

            async def watching(message: Message) -> None:
                nonlocal sent
                if message["type"] == "http.response.start":
                    step.set("http.response.status_code", message["status"])
                    if message["status"] >= 500:
                        step.fail(str(message["status"]))
                else:
                    sent += message["count"] if "count" in message else len(message.get("body", b""))
                await send(message)

            try:
                await self._app(scope, receive, watching)
            finally:
                route = scope.get("route_name")
                if route:
                    step.rename(f"{method} {route}")
                    step.set("http.route", route)
                step.set("http.request.method", method)
                step.set("url.scheme", scope["scheme"])
                step.set("network.protocol.version", scope["http_version"])
                step.set("http.response.body.size", sent)
                step.set("isthmus.transaction", self._transactions.get((scope["method"], route or ""), OTHER))
                step.set("isthmus.request_id", request_id(scope))


def pixels_watched(workshop: Workshop) -> Workshop:
    """`workshop`, what it makes being a step of who asked for it first; itself where nothing is traced."""
    if tracing.is_on():
        submit = workshop.submit

        def carry(key: Hashable, make: Callable[[], Any], *, begun: bool = False) -> Any:
            return submit(key, tracing.carried(tracing.stepped(make, "pixels make")), begun=begun)

        vars(workshop)["submit"] = carry
    return workshop


def _parent(scope: Scope) -> str | None:
    """What the client says that the request is a part of, if it says so once."""
    told = [value for name, value in scope["headers"] if name == _TRACEPARENT]
    return told[0].decode("latin-1") if len(told) == 1 else None
