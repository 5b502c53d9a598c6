"""Bodies that the kernel takes out of files: the ASGI extension `http.response.zerocopysend`.

A frame of 512 kB costs half the time so, since its bytes are copied neither from the file nor to the
socket.
"""

import os
from asyncio import Transport

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

EXTENSION = "http.response.zerocopysend"


class Sendfile:
    """Offers the extension to `app` on one connection, whose transport it is given.

    What a file holds goes to the socket itself, past the transport, as long as that has nothing of its
    own to write; whatever the socket does not take at once goes the transport's way.
    """

    def __init__(self, app: ASGIApp, transport: Transport) -> None:
        self._app = app
        self._transport = transport
        sock = None if transport.get_extra_info("sslcontext") else transport.get_extra_info("socket")
        self._socket: int | None = sock.fileno() if sock is not None else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        cycle = getattr(send, "__self__", None)
        if self._socket is None or not isinstance(cycle, RequestResponseCycle):
            await self._app(scope, receive, send)
            return
        scope["extensions"] = {EXTENSION: {}}

        async def with_files(message: Message) -> None:
            if message["type"] != EXTENSION:
                await send(message)
                return
            sent = self._send(message["file"], message["offset"], message["count"], cycle)
            left = message["count"] - sent
            rest = os.pread(message["file"], left, message["offset"] + sent) if left else b""
            more = message.get("more_body", False)
            await send({"type": "http.response.body", "body": rest, "more_body": more})

        await self._app(scope, receive, with_files)

    def _send(self, file: int, offset: int, count: int, cycle: RequestResponseCycle) -> int:
        """How many bytes the socket has taken, of an answer with a Content-Length only."""
        if cycle.chunked_encoding or count > cycle.expected_content_length:
            return 0
        if cycle.disconnected or self._transport.is_closing() or self._transport.get_write_buffer_size():
            return 0
        assert self._socket is not None
        sent = 0
        try:
            while sent < count and (taken := os.sendfile(self._socket, file, offset + sent, count - sent)):
                sent += taken
        except OSError:  # it takes no more, or nobody is there: the transport finds out
            pass
        cycle.expected_content_length -= sent
        return sent
