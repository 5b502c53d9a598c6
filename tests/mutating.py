"""Damaged frames by the thousand, each given to its decoder: `python -m tests.mutating [count [name]]`.

A program of its own, so that a crash is seen as one. It prints a line for each frame that was decoded too
slowly, took too much memory or failed in another way than it should.
"""

import contextlib
import random
import resource
import sys
import time
from pathlib import Path

from service.dicom.errors import ArchiveError
from service.pixels.codecs import decode
from service.pixels.frame import Frame
from tests.codestreams import every_codec
from tests.swiftness import spent_s

LIMIT_S = 0.1
_HEADER = 160
_ROOM = 1 << 30  # beyond which even an attempt to allocate fails
_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


def mutated(payload: bytes, chance: random.Random) -> bytes:
    """The payload with some bytes changed, added or gone; half of the time in its header."""
    damaged = bytearray(payload)
    reach = len(damaged) if chance.random() < 0.5 else min(len(damaged), _HEADER)
    kind = chance.randrange(6)
    if kind <= 2:
        for _ in range(chance.choice((1, 1, 2, 4, 16))):
            damaged[chance.randrange(reach)] = chance.randrange(256)
    elif kind == 3:
        del damaged[chance.randrange(len(damaged)) :]
    elif kind == 4:
        place = chance.randrange(reach)
        del damaged[place : place + chance.randrange(1, 20)]
    else:
        place = chance.randrange(reach)
        damaged[place:place] = chance.randbytes(chance.randrange(1, 20))
    return bytes(damaged)


def attempt(frame: Frame) -> str:
    """What went wrong in decoding `frame`, empty if nothing did but a refusal."""
    allowed = 8 * frame.shape.decoded_bytes + (32 << 20)
    _CLEAR.write_text("5")  # the peak is counted from here
    before = _memory("VmRSS")
    try:
        _decoded_or_refused(frame)
    except Exception as error:
        return f"raised {type(error).__name__}"
    spent = spent_s(lambda: _decoded_or_refused(frame), LIMIT_S, time.process_time)
    grown = _memory("VmHWM") - before
    if spent > LIMIT_S:
        return f"took {spent:.3f} s"
    return f"took {grown} bytes" if grown > allowed else ""


def _decoded_or_refused(frame: Frame) -> None:
    with contextlib.suppress(ArchiveError):
        decode(frame)


def _memory(field: str) -> int:
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def main(count: int, only: str = "") -> int:
    wrong = 0
    most = _memory("VmSize") + _ROOM
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    for name, frame in every_codec():
        if only not in name:
            continue
        decode(frame)
        chance = random.Random(name)
        payload = bytes(frame.payload)
        for number in range(count):
            verdict = attempt(Frame(mutated(payload, chance), frame.syntax, frame.shape))
            if verdict:
                wrong += 1
                sys.stdout.write(f"{name}, mutation {number}: {verdict}\n")
        sys.stdout.flush()
    sys.stdout.write(f"{wrong} wrong\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000, *sys.argv[2:3]))
