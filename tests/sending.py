"""A client that speaks to the application itself, without a server: no socket could be so exact."""

import asyncio
import json
from collections.abc import MutableMapping
from typing import Any

from starlette.types import ASGIApp

from service.app import create_app
from service.settings import Settings
from tests.sites import Site

HEAD = b"--bnd\r\nContent-Type: application/dicom\r\n\r\n"
MULTIPART = b'multipart/related; type="application/dicom"; boundary=bnd'


class Sender:
    """An ASGI client that sends `blocks`, then does what `then` says: stall, cut or end."""

    def __init__(self, *blocks: bytes, then: str, media_type: bytes = MULTIPART, **headers: bytes) -> None:
        """`headers` are sent beside Host and Content-Type, `_` in their names for `-`."""
        self._blocks = list(blocks)
        self._then = then
        self._headers = [(b"host", b"testserver"), (b"content-type", media_type)]
        self._headers += [(name.replace("_", "-").encode(), value) for name, value in headers.items()]
        self.asked = 0
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.body = b""
        self.waits = False

    def send_to(self, site: Site, **settings: Any) -> "Sender":
        app = create_app(site.archive, Settings(**settings))
        asyncio.run(asyncio.wait_for(self.post(app), 60))
        return self

    async def post(self, app: ASGIApp) -> None:
        """Be the client of one request."""
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": "POST",
            "path": "/dicom-web/studies",
            "query_string": b"",
            "root_path": "",
            "scheme": "http",
            "server": ("testserver", 80),
            "headers": self._headers,
            "state": {},
        }
        await app(scope, self._receive, self._send)

    @property
    def answer(self) -> Any:
        """The body of the response, read as JSON."""
        return json.loads(self.body)

    async def _receive(self) -> dict[str, Any]:
        self.asked += 1
        if self._blocks:
            block = self._blocks.pop(0)
            more = bool(self._blocks) or self._then != "end"
            return {"type": "http.request", "body": block, "more_body": more}
        self.waits = True
        if self._then == "cut":
            return {"type": "http.disconnect"}
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], dict(message["headers"])
        else:
            self.body += message.get("body", b"")
