"""Failed handshakes that the other side is told of: the event loops close the connection without the alert.

Without it a peer sees no more than that it is hung up on, and not that it has no certificate, for instance.
"""

import contextlib
import contextvars
import socket
import ssl
from typing import Any

CONNECTION: contextvars.ContextVar[socket.socket | None] = contextvars.ContextVar("connection", default=None)
"""The connection on which a handshake begins, in whose context that is said."""


class AlertingContext(ssl.SSLContext):
    """A context whose connections send the alert that is due when their handshake fails (RFC 8446 6.2)."""

    def wrap_bio(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, *args: Any, **given: Any) -> Any:
        """As the base class has it."""
        self.sslobject_class = _Alerting
        made = super().wrap_bio(incoming, outgoing, *args, **given)
        assert isinstance(made, _Alerting)
        made.outgoing, made.connection = outgoing, CONNECTION.get()
        return made


class _Alerting(ssl.SSLObject):
    outgoing: ssl.MemoryBIO
    connection: socket.socket | None

    def do_handshake(self) -> None:
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError:
            if self.connection is not None:
                with contextlib.suppress(OSError):  # it takes nothing, or nobody is there
                    self.connection.send(self.outgoing.read())
            raise
        self.connection = None
