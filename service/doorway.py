"""The way in to a server over TLS: connections are accepted here, and handed on after their handshake."""

import asyncio
import contextvars
import errno
import logging
import socket
import ssl
from collections.abc import Callable

from service.alerts import CONNECTION
from service.certificates import reason

log = logging.getLogger("isthmus.tls")

_AT_ONCE = 16  # connections accepted before others get their turn
_PAUSE_S = 1.0  # after which is accepted again, where descriptors or memory lacked
_CLOSING_S = 60.0  # for the other side to take what is left, and to answer that the connection closes
_LACKING = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Doorway:
    """Accepts connections on a listening socket, on the running loop, until it is closed.

    Each has `handshake_s` for its handshake, with the context that `context` then gives, and is told to a
    protocol by `make` after it. Handshakes wait for nobody; where more than `most` are in progress, the
    oldest is ended.
    """

    def __init__(
        self,
        listener: socket.socket,
        make: Callable[[], asyncio.BaseProtocol],
        context: Callable[[], ssl.SSLContext],
        *,
        handshake_s: float,
        most: int,
    ) -> None:
        listener.setblocking(False)
        self._listener = listener
        self._make = make
        self._context = context
        self._handshake_s = handshake_s
        self._most = most
        self._loop = asyncio.get_running_loop()
        self._shaking: dict[asyncio.Task[object], str] = {}  # by age, with the address
        self._pause: asyncio.TimerHandle | None = None
        self._open()

    @property
    def shaking(self) -> int:
        """How many handshakes are in progress."""
        return len(self._shaking)

    def close(self) -> None:
        """Accept no more, close the listening socket, and end the handshakes in progress."""
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        else:
            self._loop.remove_reader(self._listener)
        self._listener.close()
        for task in list(self._shaking):
            task.cancel()

    def _open(self) -> None:
        self._pause = None
        self._loop.add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                connection, address = self._listener.accept()
            except OSError as error:
                if error.errno in _LACKING:
                    log.error("accepting paused=true reason=%s", error.strerror)
                    self._loop.remove_reader(self._listener)
                    self._pause = self._loop.call_later(_PAUSE_S, self._open)
                return  # there is none, or it has left again
            connection.setblocking(False)
            self._shake(connection, str(address[0]))

    def _shake(self, connection: socket.socket, host: str) -> None:
        if len(self._shaking) >= self._most:
            oldest = next(iter(self._shaking))
            log.info("handshake peer=%s failed='too many at a time'", self._shaking.pop(oldest))
            oldest.cancel()
        context = contextvars.copy_context()
        context.run(CONNECTION.set, connection)
        # Begun at once, so that the connection has an owner even if the task is called off before its turn.
        task: asyncio.Task[object] = asyncio.Task(
            self._loop.connect_accepted_socket(
                self._make,
                connection,
                ssl=self._context(),
                ssl_handshake_timeout=self._handshake_s,
                ssl_shutdown_timeout=_CLOSING_S,
            ),
            loop=self._loop,
            context=context,
            eager_start=True,
        )
        self._shaking[task] = host
        task.add_done_callback(self._shaken)

    def _shaken(self, task: asyncio.Task[object]) -> None:
        host = self._shaking.pop(task, "")
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            return
        # Whoever connects and leaves, as probes of a cluster do, is of no interest.
        level = logging.DEBUG if isinstance(error, ConnectionResetError) else logging.INFO
        log.log(level, "handshake peer=%s failed=%r", host, reason(error))
