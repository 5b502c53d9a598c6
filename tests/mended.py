"""What the peers of the tests need to be relied on."""

import contextlib
import socket
from typing import Any

from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dul import DULServiceProvider
from pynetdicom.transport import AssociationSocket

_get_msg = DIMSEServiceProvider.get_msg
_run_reactor = DULServiceProvider.run_reactor


def mend_pynetdicom() -> None:
    """Have pynetdicom lose no answer, and leave no socket open.

    While a caller in another thread waits for an answer the reactor of its association is paused, but is
    taken for paused a moment too early: on a busy machine it takes the answer about once in some thousands.
    And the socket of a peer that was killed, has reset its connection or refuses one is left to the garbage
    collector, which warns of it in whatever test runs then.
    """

    def get_msg(self: DIMSEServiceProvider, block: bool = False) -> tuple[Any, Any]:
        if not block and not self.assoc._reactor_checkpoint.is_set():
            return None, None
        return _get_msg(self, block)

    def run_reactor(self: DULServiceProvider) -> None:
        try:
            _run_reactor(self)
        finally:
            if self.socket is not None and self.socket.socket is not None:
                self.socket.socket.close()

    def shutdown_socket(self: AssociationSocket) -> None:
        if self.socket is not None:
            with contextlib.suppress(OSError):  # there is no connection any more
                self.socket.shutdown(socket.SHUT_RDWR)
            self.socket.close()

    AssociationSocket._shutdown_socket = shutdown_socket  # type: ignore[method-assign]
    DIMSEServiceProvider.get_msg = get_msg  # type: ignore[method-assign]
    DULServiceProvider.run_reactor = run_reactor  # type: ignore[method-assign]
