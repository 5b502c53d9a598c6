"""The way in to a server over TLS, or to one of several processes that accept on the same socket."""

import asyncio
import contextvars
import errno
import logging
import socket
import ssl
from collections.abc import Callable
from typing import Any, Protocol

from service.alerts import CONNECTION
from service.certificates import reason

log = logging.getLogger("isthmus.tls")

_AT_ONCE = 16  # connections accepted before others get their turn
_YIELD_S = 0.001  # for which a connection is left to a process that has fewer
_PAUSE_S = 1.0  # after which is accepted again, where descriptors or memory lacked
_CLOSING_S = 60.0  # for the other side to take what is left, and to answer that the connection closes
_LACKING = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Share(Protocol):
    """The connections of this process, among those of others that accept on the same socket."""

    def is_large(self, coming: int) -> bool:
        """Whether another process has so many fewer that it should take the next one.

        `coming` are ours of which no protocol has been told yet.
        """
        ...


class Doorway:
    """Accepts connections on a listening socket, on the running loop, until it is closed.

    Each has `handshake_s` for its handshake, with the context that `context` then gives, and is told to a
    protocol by `make` after it; without a context it is in clear. Handshakes wait for nobody; where more than
    `most` are in progress, the oldest is ended.

    While our `share` is large, a connection is left to others for a moment.
    """

    def __init__(
        self,
        listener: socket.socket,
        make: Callable[[], asyncio.BaseProtocol],
        context: Callable[[], ssl.SSLContext | None],
        *,
        handshake_s: float,
        most: int,
        share: Share | None = None,
    ) -> None:
        listener.setblocking(False)
        self._listener = listener
        self._make = make
        self._context = context
        self._handshake_s = handshake_s
        self._most = most
        self._share = share
        self._loop = asyncio.get_running_loop()
        self._shaking: dict[asyncio.Task[object], tuple[str, socket.socket]] = {}  # by age, with the address
        self._plain: dict[asyncio.Task[object], tuple[str, socket.socket]] = {}  # without a handshake
        self._pause: asyncio.TimerHandle | None = None
        self._open()

    @property
    def shaking(self) -> int:
        """How many handshakes are in progress."""
        return len(self._shaking)

    @property
    def is_closed(self) -> bool:
        """Whether nothing is accepted any more; a protocol may still be told of what was accepted last."""
        return self._listener.fileno() < 0

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

    def _rest(self, for_s: float, then: Callable[[], None]) -> None:
        self._loop.remove_reader(self._listener)
        self._pause = self._loop.call_later(for_s, then)

    def _open_late(self) -> None:
        """Accept what was left to others, and is still there."""
        self._open()
        self._accept(yields=False)

    def _accept(self, yields: bool = True) -> None:
        for _ in range(_AT_ONCE):
            coming = len(self._shaking) + len(self._plain)
            if yields and self._share is not None and self._share.is_large(coming):
                self._rest(_YIELD_S, self._open_late)
                return
            try:
                connection, address = self._listener.accept()
            except OSError as error:
                if error.errno in _LACKING:
                    log.error("accepting paused=true reason=%s", error.strerror)
                    self._rest(_PAUSE_S, self._open)
                return  # there is none, or it has left again
            connection.setblocking(False)
            self._shake(connection, str(address[0]))

    def _shake(self, connection: socket.socket, host: str) -> None:
        if len(self._shaking) >= self._most:
            oldest = next(iter(self._shaking))
            log.info("handshake peer=%s failed='too many at a time'", self._shaking.pop(oldest)[0])
            oldest.cancel()
        context = contextvars.copy_context()
        context.run(CONNECTION.set, connection)
        secured: dict[str, Any] = {}
        if (given := self._context()) is not None:
            secured = {
                "ssl": given,
                "ssl_handshake_timeout": self._handshake_s,
                "ssl_shutdown_timeout": _CLOSING_S,
            }
        # Begun at once, so that the connection has an owner even if the task is called off before its turn.
        task: asyncio.Task[object] = asyncio.Task(
            self._loop.connect_accepted_socket(self._make, connection, **secured),
            loop=self._loop,
            context=context,
            eager_start=True,
        )
        (self._shaking if secured else self._plain)[task] = (host, connection)
        task.add_done_callback(self._shaken)

    def _shaken(self, task: asyncio.Task[object]) -> None:
        known = self._shaking.pop(task, None) or self._plain.pop(task, None)
        error = None if task.cancelled() else task.exception()
        if error is None or known is None:
            return
        host, connection = known
        connection.close()  # nobody else does if there is no protocol
        if not isinstance(error, OSError):  # as those of TLS are
            log.error("connection peer=%s lost", host, exc_info=error)
            return
        # Whoever connects and leaves, as probes of a cluster do, is of no interest.
        level = logging.DEBUG if isinstance(error, ConnectionResetError) else logging.INFO
        log.log(level, "handshake peer=%s failed=%r", host, reason(error))
