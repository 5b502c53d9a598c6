"""The bridge as a program: `python -m bridge [--leash FD]`."""

import argparse
import asyncio
import logging
import os
import signal
import sys
from collections.abc import Sequence

from bridge import heap
from bridge.archive.remote import RemoteArchive
from bridge.commitment.commitments import Commitments
from bridge.commitment.holdings import search_of
from bridge.descriptors import make_room
from bridge.scp.commitment import Commitment
from bridge.scp.echo import Echo
from bridge.scp.find import Find
from bridge.scp.listener import Listener
from bridge.scp.retrieve import Retrieve
from bridge.scp.store import Store
from bridge.settings import BridgeSettings, read_settings
from bridge.state import StateFolder, StateUnavailable
from service import leash, logs
from service.environment import SettingError

log = logging.getLogger("isthmus.bridge")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the bridge until it is told to stop; 2 for a setting that is no good, 1 if it cannot listen."""
    parser = argparse.ArgumentParser(prog="bridge", description="DIMSE on one side, DICOMweb on the other.")
    parser.add_argument("--leash", type=int, metavar="FD", help="a pipe whose closing ends the bridge")
    options = parser.parse_args(arguments)
    logs.set_up()
    try:
        settings = read_settings(os.environ)
        state = StateFolder.open(settings.state)
    except SettingError as error:
        sys.stderr.write(f"bridge: {error}\n")
        return 2
    make_room(settings.limits)
    heap.keep()
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(_run(settings, state, options.leash))


async def _run(settings: BridgeSettings, state: StateFolder, leash_descriptor: int | None) -> int:
    loop = asyncio.get_running_loop()
    told_to_stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, told_to_stop.set)
    if leash_descriptor is not None:

        def on_end() -> None:
            loop.call_soon_threadsafe(told_to_stop.set)

        leash.hold(leash_descriptor, on_end, grace_s=settings.drain_s + 1)
    archive = RemoteArchive(settings.archive)
    shelf = state.shelf("commitments", most=settings.commitment.transactions)
    commitments = Commitments(settings, shelf, search_of(archive))
    try:
        await commitments.start()
    except StateUnavailable as error:
        sys.stderr.write(f"bridge: ISTHMUS_BRIDGE_STATE: {settings.state} cannot be used: {error}.\n")
        return 1
    listener = Listener(
        settings,
        [
            Echo(),
            Store(archive),
            Find(archive, settings),
            Retrieve(archive, settings),
            Commitment(commitments, settings.limits),
        ],
    )
    try:
        host, port = await listener.start()
    except OSError as error:
        sys.stderr.write(
            f"bridge: cannot listen on {settings.host}:{settings.port}: {error.strerror}. "
            "ISTHMUS_DIMSE_HOST and ISTHMUS_DIMSE_PORT choose another address.\n"
        )
        return 1
    log.info(
        "listening ae_title=%s host=%s port=%d archive=%s",
        settings.ae_title,
        host,
        port,
        settings.archive.url,
    )
    await told_to_stop.wait()
    log.info("draining associations=%d", listener.associations)
    await listener.drain(settings.drain_s)
    await commitments.stop()
    await archive.close()
    await state.close()
    return 0


def _loop_factory() -> "type[asyncio.AbstractEventLoop] | None":
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.Loop


if __name__ == "__main__":
    sys.exit(main())
