"""The bridge as a program: `python -m bridge [--leash FD]`."""

import argparse
import asyncio
import logging
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace

from bridge import heap
from bridge.descriptors import needed
from bridge.running import Bridge, CannotStart
from bridge.settings import BridgeSettings, read_settings
from bridge.state import StateFolder
from bridge.tracing import Traced
from bridge.witness import PROGRAM
from service import companion, leash, logs
from service.audit.open import trail_of
from service.audit.trail import Trail
from service.descriptors import make_room
from service.environment import SettingError
from service.tracing import tracing

log = logging.getLogger("isthmus.bridge")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the bridge until it is told to stop; 2 for a setting that is no good, 1 if it cannot listen."""
    parser = argparse.ArgumentParser(prog="bridge", description="DIMSE on one side, DICOMweb on the other.")
    parser.add_argument("--leash", type=int, metavar="FD", help="a pipe whose closing ends the bridge")
    parser.add_argument("--login", type=int, metavar="FD", help="a file with the token for the service")
    options = parser.parse_args(arguments)
    logs.set_up(mark=Traced())
    try:
        settings = _signing_in(read_settings(os.environ), options.login)
        state = StateFolder.open(settings.state)
    except SettingError as error:
        sys.stderr.write(f"bridge: {error}\n")
        return 2
    make_room(needed(settings), "ISTHMUS_MAX_ASSOCIATIONS", log)
    heap.keep()
    try:
        with (
            tracing(settings.traces_to, PROGRAM),
            trail_of(settings.audit, PROGRAM) as trail,
            asyncio.Runner(loop_factory=_loop_factory()) as runner,
        ):
            return runner.run(_run(settings, state, options.leash, trail))
    except SettingError as error:
        sys.stderr.write(f"bridge: {error}\n")
        return 2


def _signing_in(settings: BridgeSettings, login: int | None) -> BridgeSettings:
    """The settings of a bridge that was handed a token for the service that it was started with."""
    if login is not None:
        os.set_inheritable(login, False)
    return replace(settings, archive=replace(settings.archive, token=companion.read(login)))


async def _run(
    settings: BridgeSettings, state: StateFolder, leash_descriptor: int | None, trail: Trail | None
) -> int:
    loop = asyncio.get_running_loop()
    told_to_stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, told_to_stop.set)
    if leash_descriptor is not None:
        os.set_inheritable(leash_descriptor, False)

        def on_end() -> None:
            loop.call_soon_threadsafe(told_to_stop.set)

        leash.hold(leash_descriptor, on_end, grace_s=settings.drain_s + 1)
    bridge = Bridge(settings, state, trail)
    opening = loop.create_task(bridge.open())
    stopping = loop.create_task(told_to_stop.wait())
    await asyncio.wait((opening, stopping), return_when=asyncio.FIRST_COMPLETED)
    if not opening.done():  # it waits for a disk, or for what an earlier bridge has left at its work
        opening.cancel()
        await asyncio.wait((opening,))
        return 0
    try:
        opening.result()
        await bridge.start()
    except CannotStart as reason:
        sys.stderr.write(f"bridge: {reason}\n")
        return 1
    await stopping
    await bridge.stop()
    return 0


def _loop_factory() -> "type[asyncio.AbstractEventLoop] | None":
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.Loop


if __name__ == "__main__":
    sys.exit(main())
