"""The bridge as a program: `python -m bridge [--leash FD]`."""

import argparse
import asyncio
import logging
import os
import signal
import sys
from collections.abc import Sequence
from functools import partial

from bridge import heap
from bridge.archive.presence import arrival
from bridge.archive.remote import RemoteArchive
from bridge.commitment.commitments import Commitments
from bridge.commitment.holdings import search_of
from bridge.control.app import create_app
from bridge.control.crossing import DimseLoop
from bridge.control.house import House
from bridge.control.server import ControlServer, listening
from bridge.descriptors import needed
from bridge.jobs.job import Kind
from bridge.jobs.jobs import Errand, Jobs
from bridge.jobs.retrieving import Retrieving
from bridge.jobs.storing import Storing
from bridge.measures import Measures
from bridge.pacs.faces import Faces
from bridge.pacs.inbox import Inbox
from bridge.scp.commitment import Commitment
from bridge.scp.echo import Echo
from bridge.scp.find import Find
from bridge.scp.listener import Listener
from bridge.scp.retrieve import Retrieve
from bridge.scp.store import Store
from bridge.settings import BridgeSettings, read_settings
from bridge.state import StateFolder, StateUnavailable
from bridge.tracing import Traced
from service import leash, logs
from service.descriptors import make_room
from service.environment import SettingError

log = logging.getLogger("isthmus.bridge")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the bridge until it is told to stop; 2 for a setting that is no good, 1 if it cannot listen."""
    parser = argparse.ArgumentParser(prog="bridge", description="DIMSE on one side, DICOMweb on the other.")
    parser.add_argument("--leash", type=int, metavar="FD", help="a pipe whose closing ends the bridge")
    options = parser.parse_args(arguments)
    logs.set_up(mark=Traced())
    try:
        settings = read_settings(os.environ)
        state = StateFolder.open(settings.state)
    except SettingError as error:
        sys.stderr.write(f"bridge: {error}\n")
        return 2
    make_room(needed(settings), "ISTHMUS_MAX_ASSOCIATIONS", log)
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
    jobs = _jobs(settings, state, archive)
    inbox = Inbox(settings.inbox_ae_title, calling=settings.ae_title)
    faces = Faces(settings, inbox, loop)
    measures = Measures()
    listener = Listener(
        settings,
        [
            Echo(),
            Store(archive, inbox),
            Find(archive, settings),
            Retrieve(archive, settings),
            Commitment(commitments, settings.limits),
        ],
        measures=measures,
    )
    try:
        web = listening(settings.control)
    except OSError as error:
        return _cannot_listen(settings.control.host, settings.control.port, "BRIDGE", error)
    try:
        host, port = await listener.start()
    except OSError as error:
        return _cannot_listen(settings.host, settings.port, "DIMSE", error)
    log.info(
        "listening ae_title=%s host=%s port=%d archive=%s",
        settings.ae_title,
        host,
        port,
        settings.archive.url,
    )
    try:
        await jobs.start()
    except StateUnavailable as error:
        sys.stderr.write(f"bridge: ISTHMUS_BRIDGE_STATE: {settings.state} cannot be used: {error}.\n")
        return 1
    house = House(
        settings,
        DimseLoop(loop, timeout_s=settings.control.crossing_s),
        archive,
        jobs,
        listening=lambda: not told_to_stop.is_set(),
        measured=measures.text,
        faces=faces,
    )
    control = ControlServer(create_app(house), web, settings.control, drain_s=settings.drain_s)
    control.start()
    log.info("control host=%s port=%d", *control.address)
    await told_to_stop.wait()
    log.info("draining associations=%d", listener.associations)
    await jobs.stop()
    await asyncio.gather(listener.drain(settings.drain_s), asyncio.to_thread(control.stop))
    await faces.close()
    await commitments.stop()
    await archive.close()
    await state.close()
    return 0


def _cannot_listen(host: str, port: int, which: str, error: OSError) -> int:
    """Say that an address is no good, and by which settings there is another one; the exit code."""
    reason = os.strerror(error.errno) if error.errno else str(error)
    sys.stderr.write(
        f"bridge: cannot listen on {host}:{port}: {reason}. "
        f"ISTHMUS_{which}_HOST and ISTHMUS_{which}_PORT choose another address.\n"
    )
    return 1


def _jobs(settings: BridgeSettings, state: StateFolder, archive: RemoteArchive) -> Jobs:
    errands: dict[Kind, Errand] = {
        Kind.STORE: Storing(archive, settings),
        Kind.RETRIEVE: Retrieving(archive, Store(archive), settings),
    }
    shelf = state.shelf("jobs", most=settings.jobs.most)
    ready = partial(arrival, archive, within_s=settings.jobs.archive_s)
    return Jobs(settings.jobs, settings.peers, shelf, errands, ready=ready)


def _loop_factory() -> "type[asyncio.AbstractEventLoop] | None":
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.Loop


if __name__ == "__main__":
    sys.exit(main())
