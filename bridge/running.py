"""A running bridge: its parts, made of the settings, and the order in which they begin and end."""

import asyncio
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from bridge.archive.own import OwnArchive
from bridge.archive.presence import arrival
from bridge.archive.remote import RemoteArchive
from bridge.commitment.commitments import Commitments
from bridge.commitment.holdings import search_of
from bridge.control.app import create_app
from bridge.control.crossing import DimseLoop
from bridge.control.house import House
from bridge.control.server import ControlServer, listening
from bridge.errands import WitnessedErrand
from bridge.forwarding.forwarding import Forwarding
from bridge.jobs.job import Kind
from bridge.jobs.jobs import Errand, Jobs
from bridge.jobs.retrieving import Retrieving
from bridge.jobs.storing import Storing
from bridge.measures import Measures
from bridge.pacs.faces import Faces
from bridge.pacs.inbox import Inbox
from bridge.procedures import Procedures
from bridge.scp.commitment import Commitment
from bridge.scp.echo import Echo
from bridge.scp.find import Find
from bridge.scp.listener import Listener
from bridge.scp.mpps import Mpps
from bridge.scp.retrieve import Retrieve
from bridge.scp.service import Service
from bridge.scp.store import Store
from bridge.scp.worklist import ModalityWorklist
from bridge.settings import BridgeSettings
from bridge.spool.spool import Spool
from bridge.state import StateFolder, StateUnavailable
from service.audit.trail import Trail
from service.dicom.errors import ArchiveError
from service.web.guard import guard_of

log = logging.getLogger("isthmus.bridge")


class CannotStart(Exception):
    """The bridge cannot be what its settings say; the message is for whoever started it."""


class Bridge:
    """All parts of one bridge; made, started and stopped on the loop of its associations."""

    def __init__(self, settings: BridgeSettings, state: StateFolder, trail: Trail | None) -> None:
        self._settings = settings
        self._state = state
        self._trail = trail
        self._open = False
        self._archive = RemoteArchive(settings.archive)
        self._own = None
        if settings.own is not None:
            lock = settings.state / "porter.lock"
            self._own = OwnArchive(settings.own, lock, traces_to=settings.traces_to)
        self._spool = Spool(settings, self._archive, self._own)
        shelf = state.shelf("commitments", most=settings.commitment.transactions)
        self._commitments = Commitments(settings, shelf, search_of(self._archive), self._spool)
        self._procedures = Procedures(settings, state)
        self._forwarding = Forwarding(
            settings,
            self._archive,
            settings.state / "forwarding",
            awaited=self._awaits,
            trail=trail,
        )
        self._jobs = self._make_jobs()
        self._inbox = Inbox(settings.inbox_ae_title, calling=settings.ae_title)
        self._sign_in = guard_of(settings.control.access)
        self._faces = Faces(settings, self._inbox, asyncio.get_running_loop(), self._sign_in, trail)
        self._measures = Measures()
        self._listener = Listener(settings, self._services(), measures=self._measures, trail=trail)

    async def open(self) -> None:
        """Open what instances are entered into, which may take as long as a disk does.

        `SettingError`, `CannotStart`.
        """
        if self._own is None:
            return
        try:
            await self._own.open()
        except ArchiveError as error:
            raise CannotStart(f"cannot store in ISTHMUS_STORE and ISTHMUS_INDEX: {error}") from None

    async def start(self) -> None:
        """Go on with what an earlier run left, and listen, once it is `open`. `CannotStart`."""
        try:
            await self._spool.start()
            await self._commitments.start()
            await self._procedures.start()
            await self._forwarding.start()
            control = await self._listen()
            await self._jobs.start()
        except StateUnavailable as error:
            raise CannotStart(
                f"ISTHMUS_BRIDGE_STATE: {self._settings.state} cannot be used: {error}."
            ) from None
        self._control = control
        self._open = True
        control.start()
        log.info("control host=%s port=%d", *control.address)

    async def stop(self) -> None:
        """Finish what is under way within `drain_s`, and let go of everything."""
        self._open = False
        log.info("draining associations=%d", self._listener.associations)
        await self._jobs.stop()
        await asyncio.gather(
            self._listener.drain(self._settings.drain_s),
            asyncio.to_thread(self._control.stop),
            self._forwarding.rest(),
        )
        await self._faces.close()
        await self._forwarding.stop()
        await self._procedures.stop()
        await self._commitments.stop()
        await self._spool.stop()
        await self._archive.close()
        if self._own is not None:
            await self._own.close()
        await self._state.close()

    def _services(self) -> list[Service]:
        """What peers may ask for."""
        settings, archive = self._settings, self._archive
        return [
            Echo(),
            Store(archive, self._inbox, self._spool, self._forwarding),
            Find(archive, settings),
            Retrieve(archive, settings),
            Commitment(self._commitments, settings.limits),
            ModalityWorklist(self._procedures.worklist, settings),
            Mpps(self._procedures.steps, settings),
        ]

    def _make_jobs(self) -> Jobs:
        settings, archive = self._settings, self._archive
        errands: dict[Kind, Errand] = {
            Kind.STORE: Storing(archive, settings),
            Kind.RETRIEVE: Retrieving(archive, Store(archive, forwards=self._forwarding), settings),
        }
        if self._trail is not None:
            for kind, errand in errands.items():
                errands[kind] = WitnessedErrand(errand, self._trail, fetches=kind is Kind.RETRIEVE)
        shelf = self._state.shelf("jobs", most=settings.jobs.most)
        ready = partial(arrival, archive, within_s=settings.jobs.archive_s)
        return Jobs(settings.jobs, settings.peers, shelf, errands, ready=ready)

    def _awaits(self, instance: str) -> bool:
        """Whether the archive has still to get what the bridge has taken of an instance."""
        return self._spool.awaits(instance) or self._spool.detains(instance)

    async def _listen(self) -> ControlServer:
        """Listen for associations, in clear and over TLS; the HTTP, which has its address and is to start."""
        settings = self._settings
        with _named(settings.control.host, settings.control.port, "BRIDGE"):
            web = listening(settings.control)
        with _named(settings.host, settings.port, "DIMSE"):
            host, port = await self._listener.start()
        log.info(
            "listening ae_title=%s host=%s port=%d archive=%s",
            settings.ae_title,
            host,
            port,
            settings.archive.url,
        )
        if settings.tls is not None:
            with _named(settings.tls.host, settings.tls.port, "DIMSE_TLS"):
                host, port = self._listener.start_tls(settings.tls)
            mutual = "required" if settings.tls.mutual else "not_asked"
            log.info("listening tls=true host=%s port=%d client_certificates=%s", host, port, mutual)
        return ControlServer(create_app(self._house()), web, settings.control, drain_s=settings.drain_s)

    def _house(self) -> House:
        settings = self._settings
        return House(
            settings,
            DimseLoop(asyncio.get_running_loop(), timeout_s=settings.control.crossing_s),
            self._archive,
            self._jobs,
            listening=lambda: self._open,
            measured=self._measures.text,
            faces=self._faces,
            sign_in=self._sign_in,
            trail=self._trail,
            spool=self._spool,
            own=self._own,
            forwarding=self._forwarding,
            procedures=self._procedures,
        )


@contextmanager
def _named(host: str, port: int, which: str) -> Iterator[None]:
    """Say of an address that cannot be listened on by which settings there is another one."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise CannotStart(
            f"cannot listen on {host}:{port}: {reason}. "
            f"ISTHMUS_{which}_HOST and ISTHMUS_{which}_PORT choose another address."
        ) from None
