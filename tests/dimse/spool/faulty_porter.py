"""The porter, on a disk that fails: `python -m tests.dimse.spool.faulty_porter FOLDER SOCKET MEMORY BYTES`.

What goes wrong when a file is made durable is told by names in FOLDER: `hang` for as long as that is there,
`fail`, and `die`; `mute` is that no answer can be made.
"""

import os
import sys
import time
from pathlib import Path
from typing import Any

from bridge.porter import __main__ as porter
from bridge.porter import messages

_packed = messages.packed
_fdatasync = os.fdatasync


def _faulty(faults: Path, descriptor: Any) -> None:
    while (faults / "hang").exists():
        time.sleep(0.005)
    if (faults / "fail").exists():
        raise MemoryError
    if (faults / "die").exists():
        os._exit(9)
    _fdatasync(descriptor)


def _mute(faults: Path, answer: Any) -> bytes:
    if (faults / "mute").exists():
        raise MemoryError
    return _packed(answer)


if __name__ == "__main__":
    folder = Path(sys.argv.pop(1))
    vars(porter)["packed"] = lambda answer: _mute(folder, answer)
    os.fdatasync = lambda descriptor: _faulty(folder, descriptor)  # type: ignore[assignment]
    sys.exit(porter.main())
