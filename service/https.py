"""The HTTP server, in clear or over TLS, whose certificates may be renewed while it runs."""

import socket
import ssl
from collections.abc import Coroutine
from typing import Any

import uvicorn

from service.doorway import Doorway, Share
from service.tls import Contexts

_HANDSHAKE_S = 10.0
_HANDSHAKES = 256  # at a time


class HttpServer(uvicorn.Server):
    """Uvicorn on one socket.

    With `tls` or a `share`, connections come to it through a doorway: after their handshake, and as many as
    are for this process where several accept on the socket.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        listener: socket.socket,
        tls: Contexts | None,
        share: Share | None = None,
    ) -> None:
        super().__init__(config)
        self._share = share
        self._listener = listener
        self._tls = tls
        self._doorway: Doorway | None = None

    def stop(self) -> None:
        """Finish what is in flight and end; callable from any thread."""
        self.should_exit = True

    def answer(self) -> None:
        """Answer requests until told to stop; the socket is closed then."""
        self.run(sockets=[] if self._has_doorway else [self._listener])

    @property
    def _has_doorway(self) -> bool:
        return self._tls is not None or self._share is not None

    def main_loop(self) -> Coroutine[Any, Any, None]:
        """As the base class has it, once the application has started."""
        if self._has_doorway:
            self._doorway = Doorway(
                self._listener,
                self._protocol,
                self._context,
                handshake_s=_HANDSHAKE_S,
                most=_HANDSHAKES,
                share=self._share,
            )
        return super().main_loop()

    def shutdown(self, sockets: list[socket.socket] | None = None) -> Coroutine[Any, Any, None]:
        """As the base class has it; handshakes in progress are no requests in flight."""
        if self._doorway is not None:
            self._doorway.close()
        return super().shutdown(sockets)

    def _context(self) -> ssl.SSLContext | None:
        return None if self._tls is None else self._tls.current()

    def _protocol(self) -> Any:
        make: Any = self.config.http_protocol_class
        return make(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)
