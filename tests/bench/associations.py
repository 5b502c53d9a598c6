"""What associations cost the bridge: opening one, and keeping 200 that say nothing; against Orthanc."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial

from tests.bench import orthanc
from tests.bench.figures import MILLISECONDS, Figure, Skipped, in_turn
from tests.bench.rig import Rig, processor_s
from tests.dimse.dimse_peers import IMPLICIT_LE, VERIFICATION, RawPeer, a_context

NAME = "idle"
_OURS = "bridge"
_IDLE = 200
_OPENED = 100
_WATCHED_S = 4.0
_CALLERS = 4  # AE titles, since there is a limit for each


def run(rig: Rig, rounds: int) -> Iterator[Figure | Skipped]:
    """Milliseconds to open an association, and processor milliseconds a second for idle ones."""
    with ExitStack() as stack:
        site = stack.enter_context(rig.service())
        bridge = stack.enter_context(rig.bridge(site))
        opening: dict[str, Callable[[], float]] = {_OURS: partial(_opening_ms, bridge.port)}
        if orthanc.installed():
            other = stack.enter_context(orthanc.orthanc(rig))
            opening[orthanc.NAME] = partial(_opening_ms, other.dicom_port)
        values = in_turn(rounds, opening)
        if orthanc.NAME in values:
            what = "an association opened and released"
            yield Figure(NAME, what, MILLISECONDS, values[_OURS], orthanc.NAME, values[orthanc.NAME])
        else:
            yield Skipped(NAME, orthanc.NAME, "orthanc and orthanc-dicomweb are not installed")
        idle = in_turn(rounds, {_OURS: partial(_idle_ms, bridge.port, bridge.pid), "core": lambda: 1000.0})
        what = f"{_IDLE} idle associations, processor time a second"
        yield Figure(NAME, what, MILLISECONDS, idle[_OURS], "one core", idle["core"])


def _opening_ms(port: int) -> float:
    begun = time.perf_counter()
    for _ in range(_OPENED):
        with _associated(port):
            pass
    return 1000 * (time.perf_counter() - begun) / _OPENED


def _idle_ms(port: int, pid: int) -> float:
    """Processor milliseconds that the bridge uses in a second while all of them are open."""
    with ExitStack() as stack:
        for number in range(_IDLE):
            stack.enter_context(_associated(port, number % _CALLERS))
        before = processor_s(pid)
        time.sleep(_WATCHED_S)
        return 1000 * (processor_s(pid) - before) / _WATCHED_S


def _associated(port: int, caller: int = 0) -> RawPeer:
    peer = RawPeer(("127.0.0.1", port))
    peer.associate(a_context(1, VERIFICATION, IMPLICIT_LE), calling=f"CALLER{caller}".encode())
    return peer
