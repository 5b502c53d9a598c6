"""A program that serves C-ECHO and C-STORE in processes of their own: our bridge, or pynetdicom as it comes.

It reads lines of JSON: `{"kind": "bridge" | "stock", …}` makes it fork a process that serves, whose id and
port it answers; the kind `getter` is a process of pynetdicom that asks a peer.
"""

import asyncio
import json
import os
import resource
import signal
import sys
from dataclasses import dataclass
from typing import Any, NoReturn

import uvloop
from pydicom import Dataset
from pynetdicom import AE, evt
from pynetdicom.presentation import AllStoragePresentationContexts, VerificationPresentationContexts

from bridge.archive.remote import RemoteArchive
from bridge.scp.echo import Echo
from bridge.scp.listener import Listener
from bridge.scp.store import Store
from bridge.settings import ArchiveSettings, BridgeSettings, Limits

STUDY_ROOT_GET = "1.2.840.10008.5.1.4.1.2.2.3"


@dataclass(frozen=True)
class Order:
    """How to serve: deadlines, the most associations, the only AE title, the archive behind the bridge."""

    kind: str
    url: str
    deadline_s: float = 3.0
    idle_s: float = 30.0
    associations: int = 10
    only_called: str = ""
    port: int = 0
    """Of the peer that a `getter` asks."""
    descriptors: int = 0
    """The most that may be open, if it is not 0."""


def serve_bridge(order: Order) -> NoReturn:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_bridge(order))
    os._exit(0)


async def _bridge(order: Order) -> None:
    limits = Limits(
        artim_s=order.deadline_s,
        pdu_s=order.deadline_s,
        idle_s=order.idle_s,
        linger_s=order.deadline_s,
        associations=order.associations,
        associations_per_caller=order.associations,
    )
    settings = BridgeSettings(
        ae_title=order.only_called or "ISTHMUS",
        check_called_ae=bool(order.only_called),
        port=0,
        limits=limits,
        archive=ArchiveSettings(url=order.url),
    )
    listener = Listener(settings, [Echo(), Store(RemoteArchive(settings.archive))], lambda _: None)
    _, port = await listener.start()
    _tell(port)
    await asyncio.Event().wait()


def serve_stock(order: Order) -> NoReturn:
    entity = AE(ae_title=order.only_called or "ANY-SCP")
    entity.require_called_aet = bool(order.only_called)
    entity.acse_timeout = entity.dimse_timeout = order.deadline_s
    entity.network_timeout = order.idle_s
    entity.maximum_associations = order.associations
    entity.maximum_pdu_size = 131072
    entity.supported_contexts = AllStoragePresentationContexts + VerificationPresentationContexts
    server = entity.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, lambda event: 0x0000)]
    )
    assert server is not None
    assert server.socket is not None
    _tell(server.socket.getsockname()[1])
    signal.pause()
    os._exit(0)


def get_with_stock(order: Order) -> NoReturn:
    """Ask a peer for a study by pynetdicom's C-GET, and end when it is over."""
    _tell(0)
    entity = AE()
    entity.dimse_timeout = entity.network_timeout = order.deadline_s
    entity.acse_timeout = 60  # what is asked for is no association, but an answer on it
    entity.add_requested_context(STUDY_ROOT_GET)
    association = entity.associate("127.0.0.1", order.port)
    if association.is_established:
        identifier = Dataset()
        identifier.QueryRetrieveLevel, identifier.StudyInstanceUID = "STUDY", "1.2.3"
        for _ in association.send_c_get(identifier, STUDY_ROOT_GET):
            pass
    os._exit(0)


def _tell(port: int) -> None:
    sys.stdout.write(json.dumps({"pid": os.getpid(), "port": port}) + "\n")
    sys.stdout.flush()


_KINDS = {"bridge": serve_bridge, "stock": serve_stock, "getter": get_with_stock}


def main() -> None:
    """Fork a process for each line until there are no more; they are killed by whoever asked for them."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody here waits for them
    for line in sys.stdin:
        asked: dict[str, Any] = json.loads(line)
        order = Order(**asked)
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.close(0)
            if order.descriptors:
                resource.setrlimit(resource.RLIMIT_NOFILE, (order.descriptors, order.descriptors))
            _KINDS[order.kind](order)


if __name__ == "__main__":
    main()
