"""What service and bridge know each other by when they are started together: a token of this run alone.

It is in a file without a name, which children inherit: nobody else can open it, nothing of it is on a disk
when the programs have ended, and whoever is started again finds it there still.
"""

import os
import secrets
import tempfile

_BYTES = 32


def made() -> int:
    """The descriptor of a file with a new token."""
    with tempfile.TemporaryFile() as file:
        file.write(secrets.token_urlsafe(_BYTES).encode("ascii"))
        file.flush()
        return os.dup(file.fileno())


def read(descriptor: int | None) -> str:
    """The token that a parent handed on; nothing where it did not."""
    return "" if descriptor is None else os.pread(descriptor, 4 * _BYTES, 0).decode("ascii")
