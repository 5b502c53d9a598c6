"""Answers whose bodies are runs of files, which the kernel sends where the server offers it."""

from collections.abc import Mapping, Sequence

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from service.archive.port import FileRun
from service.web.sendfile import EXTENSION


class LentResponse(Response):
    """An answer made of `pieces`; its headers hold the Content-Length of all of them."""

    def __init__(
        self,
        pieces: Sequence[bytes | FileRun],
        status: int,
        headers: Mapping[str, str],
        media_type: str | None,
    ) -> None:
        self._pieces = pieces
        self.status_code = status
        self.media_type = media_type
        self.background = None
        self.init_headers(headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        offered = EXTENSION in scope.get("extensions", {})
        try:
            await send(
                {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
            )
            last = len(self._pieces) - 1
            for place, piece in enumerate(self._pieces):
                await send({**_message(piece, offered), "more_body": place < last})
        finally:
            for piece in self._pieces:
                if not isinstance(piece, bytes):
                    piece.close()


def _message(piece: bytes | FileRun, offered: bool) -> Message:
    if isinstance(piece, bytes):
        return {"type": "http.response.body", "body": piece}
    if not offered:
        return {"type": "http.response.body", "body": piece.read()}
    extent = piece.extent
    return {"type": EXTENSION, "file": piece.descriptor, "offset": extent.offset, "count": extent.length}
