"""What the peers of the tests need to be relied on."""

from typing import Any

from pynetdicom.dimse import DIMSEServiceProvider

_get_msg = DIMSEServiceProvider.get_msg


def mend_pynetdicom() -> None:
    """Keep an association's reactor from taking the answer that a caller in another thread waits for.

    pynetdicom pauses the reactor meanwhile, but takes it for paused a moment too early: on a busy machine
    an answer gets lost about once in some thousands.
    """

    def get_msg(self: DIMSEServiceProvider, block: bool = False) -> tuple[Any, Any]:
        if not block and not self.assoc._reactor_checkpoint.is_set():
            return None, None
        return _get_msg(self, block)

    DIMSEServiceProvider.get_msg = get_msg  # type: ignore[method-assign]
