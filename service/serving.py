"""The HTTP server: uvicorn, in one or several processes."""

import contextlib
import importlib
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from types import FrameType

import uvicorn

from service import leash
from service.app import create_app
from service.archive.open import open_archive_in_time
from service.audit.open import trail_of
from service.descriptors import make_room, needed
from service.dicom import dictionary
from service.http1 import BoundedHttp
from service.https import HttpServer
from service.pages import Pages, shared
from service.settings import Settings
from service.tls import https_contexts
from service.tracing import tracing
from service.web.metrics import LENGTH, Meters
from service.web.rendered import load_views
from service.web.witness import PROGRAM

_KEEP_ALIVE_S = 75
_UNEVEN = 1.5  # times the connections of another process, from which on that takes the next one
_BACKLOG = 512
_INDEX_WITHIN_S = 30.0  # after the start
_QUIET_S = 1.0  # after the start, which loading what pictures take would slow down


def listening_socket(settings: Settings) -> socket.socket:
    """The socket that every worker accepts from. `OSError` if the address is in use."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def serve(
    settings: Settings,
    listener: socket.socket,
    *,
    leashed_to: int | None,
    beside: tuple[str, int] | None,
    counters: tuple[int, int] | None = None,
) -> None:
    """Answer requests in this process until it is told to stop.

    `leashed_to` is the descriptor of a pipe whose end means to stop, `beside` the address of a bridge
    that must listen before the service is ready, `counters` the descriptor of memory in which several
    processes count, and which place in it is ours.
    """
    make_room(needed(settings), "ISTHMUS_MAX_REQUESTS", logging.getLogger("isthmus.service"))
    with contextlib.ExitStack() as ending:
        ending.enter_context(tracing(settings.traces_to, PROGRAM))
        archive = open_archive_in_time(settings, patience_s=_INDEX_WITHIN_S)
        ending.callback(archive.close)
        trail = ending.enter_context(trail_of(settings.audit, PROGRAM, patient_of=archive.patient_of))
        meters = _meters(counters)
        app = create_app(archive, settings, beside=beside, meters=meters, trail=trail)
        config = uvicorn.Config(
            app,
            http=BoundedHttp,
            ws="none",
            proxy_headers=False,
            loop="uvloop",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=settings.drain_s,
            backlog=_BACKLOG,
        )
        server = _Server(config, listener, https_contexts(settings.tls), _Share(meters))
        threading.Thread(target=dictionary.load, name="dictionary", daemon=True).start()
        pictures = threading.Timer(_QUIET_S, _load_pictures)
        pictures.daemon = True
        pictures.start()
        if leashed_to is not None:
            leash.hold(leashed_to, server.stop, grace_s=settings.drain_s + 1)
        server.answer()


def _meters(counters: tuple[int, int] | None) -> Meters:
    if counters is None:
        return Meters()
    descriptor, place = counters
    return Meters(Pages(LENGTH, descriptor=descriptor, place=place))


def _load_pictures() -> None:
    """Have numpy and the codecs loaded before the first picture asks for them: it takes half a second."""
    importlib.import_module("service.pixels.transcode")
    load_views()


def counting_memory(processes: int) -> int:
    """The descriptor of memory in which so many processes count together."""
    return shared(LENGTH, processes)


def worker_command(
    listener: socket.socket, beside: tuple[str, int] | None, counters: tuple[int, int]
) -> Sequence[str]:
    """The command of a process that serves from `listener` and counts in `counters`, which it inherits."""
    command = [sys.executable, "-m", "service", "serve", "--socket", str(listener.fileno())]
    command += ["--counters", "{}:{}".format(*counters)]
    return [*command, *(["--beside", f"{beside[0]}:{beside[1]}"] if beside else [])]


def inherited_socket(descriptor: int) -> socket.socket:
    """The listening socket that a parent handed on."""
    os.set_inheritable(descriptor, False)
    return socket.socket(fileno=descriptor)


class _Share:
    """The connections of this process, which it counts where the others see it."""

    def __init__(self, meters: Meters) -> None:
        self._meters = meters

    def is_large(self, coming: int) -> bool:
        own, least = self._meters.own_and_least("connections")
        # Evenly for a few, and no waiting for each of many that come at once.
        return own + coming > _UNEVEN * max(least, 0)

    def came(self) -> None:
        """One more."""
        self._meters.count("connections")

    def left(self) -> None:
        """One fewer."""
        self._meters.count("connections", -1)


class _Server(HttpServer):
    """A server that ends without raising the signal again that told it to stop."""

    _share: _Share

    def _protocol(self) -> "BoundedHttp":
        made: BoundedHttp = super()._protocol()
        made.share = self._share
        made.is_late = lambda: self._doorway is not None and self._doorway.is_closed
        return made

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        def on_signal(number: int, frame: FrameType | None) -> None:
            self.force_exit = self.should_exit and number == signal.SIGINT
            self.should_exit = True

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, on_signal)
        yield
