"""The HTTP server of the bridge: a loop of its own in a thread, beside that of the associations."""

import logging
import socket
import threading

import uvicorn
from starlette.types import ASGIApp

from bridge.settings import ControlSettings
from service.http1 import BoundedHttp
from service.https import HttpServer

log = logging.getLogger("isthmus.control")

_BACKLOG = 128
_KEEP_ALIVE_S = 75
_END_S = 2.0  # for the thread to come to its end, beyond the time for requests in flight


def listening(settings: ControlSettings) -> socket.socket:
    """The socket to serve from; `OSError` if the address is taken."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((settings.host, settings.port))
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


class ControlServer:
    """Answers requests on `listener` from `start` to `stop`."""

    def __init__(
        self, app: ASGIApp, listener: socket.socket, settings: ControlSettings, *, drain_s: float
    ) -> None:
        self._listener = listener
        self._drain_s = drain_s
        self._server = HttpServer(
            uvicorn.Config(
                app,
                http=BoundedHttp,
                ws="none",
                lifespan="off",
                proxy_headers=False,
                loop="uvloop",
                log_config=None,
                access_log=False,
                server_header=False,
                limit_concurrency=settings.connections,
                timeout_keep_alive=_KEEP_ALIVE_S,
                timeout_graceful_shutdown=max(1, round(drain_s)),
                backlog=_BACKLOG,
            ),
            listener,
            settings.tls,
        )
        self._thread = threading.Thread(target=self._serve, name="control", daemon=True)

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        host, port = self._listener.getsockname()[:2]
        return host, port

    def start(self) -> None:
        """Begin to answer requests."""
        self._thread.start()

    def stop(self) -> None:
        """Take no more, finish what is in flight within `drain_s`, and return; not from its own thread."""
        self._server.stop()
        self._thread.join(self._drain_s + _END_S)
        self._listener.close()

    def _serve(self) -> None:
        try:
            self._server.answer()
        except Exception:
            log.exception("the HTTP of the bridge has ended")
