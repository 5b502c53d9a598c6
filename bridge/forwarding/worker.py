"""The process in which a hook runs: `python -I worker.py FOLDER MODULE FUNCTION BYTES`.

A line of JSON on the standard input asks, a line on what was the standard output answers. The hook itself
has neither: it reads nothing, and what it prints is lost. Nothing of ours is imported, so that a hook finds
the standard library, installed packages and its own folder, and no settings in the environment.
"""

import importlib
import json
import os
import pathlib
import resource
import signal
import sys
import traceback
from typing import Any

_GRACE_S = 1.0  # beyond its time, after which the kernel ends a hook that the bridge has not ended


def main() -> int:
    """Answer until nobody asks any more."""
    folder, module, function, size_bytes = sys.argv[1:]
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    resource.setrlimit(resource.RLIMIT_AS, (int(size_bytes), int(size_bytes)))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.path.insert(0, folder)
    own = os.getpid()

    def answer(told: dict[str, Any]) -> None:
        if os.getpid() != own:  # a process that the hook has forked, and that came back from it
            os._exit(0)
        answers.write(json.dumps(told).encode() + b"\n")
        answers.flush()

    try:
        decide = getattr(importlib.import_module(module), function, None)
    except BaseException as error:
        answer({"failed": place_of(error)})
        return 1
    if not callable(decide):
        answer({"lacks": function})
        return 1
    answer({"ready": True})
    for line in requests:
        request = json.loads(line)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, request["timeout_s"] + _GRACE_S)
        try:
            told = {"targets": decide(request["arrival"])}
            json.dumps(told)
        except BaseException as error:
            told = {"failed": place_of(error)}
        signal.setitimer(signal.ITIMER_REAL, 0)
        answer({"number": request["number"], **told})
    return 0


def place_of(error: BaseException) -> str:
    """What went wrong and in which line, without the message, which may tell of a patient."""
    frames = traceback.extract_tb(error.__traceback__)
    last = frames[-1] if frames else None
    where = f" at {pathlib.Path(last.filename).name}:{last.lineno}" if last is not None else ""
    return f"{type(error).__name__}{where}"


if __name__ == "__main__":
    sys.exit(main())
