"""Peers that we ask something, and that stop in the middle of their answer (pynetdicom's issue #1004)."""

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge import scu
from bridge.peers import Peer
from bridge.settings import Limits
from bridge.upper import pdu
from bridge.upper.associate import AnsweredContext, AssociateAccept, AssociateRequest, UserInformation
from bridge.upper.messages import AssociationLost, NoResponse
from service.dicom.errors import UpstreamFailed, UpstreamTimeout
from tests.dimse.attacked import Barracks, eventually
from tests.dimse.dimse_peers import IMPLICIT_LE, PATIENCE_S, Ground
from tests.dimse.victims import STUDY_ROOT_GET, Order

DEADLINE_S = 0.4
# What is sent before the silence: nothing at all, an acceptance, a part of a PDU after it.
INSIDE_A_PDU = struct.pack(">BxIIBB", pdu.Kind.P_DATA, 2000, 1996, 1, 1) + bytes(100)


class Staller:
    """A peer that takes one association after the other, says what it is told to, and falls silent."""

    def __init__(self, *, accepts: bool, last_words: bytes) -> None:
        self._accepts = accepts
        self._last_words = last_words
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._kept: list[socket.socket] = []
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, name="staller")
        self._thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError, EOFError):
            while True:
                connection, _ = self._socket.accept()
                connection.settimeout(PATIENCE_S)
                self._kept.append(connection)
                if self._accepts:
                    connection.sendall(acceptance(_pdu(connection)))
                    _pdu(connection)  # a request
                    connection.sendall(self._last_words)

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for connection in self._kept:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        self._thread.join(PATIENCE_S)


def _pdu(connection: socket.socket) -> bytes:
    with connection.makefile("rb") as stream:
        header = stream.read(6)
        if len(header) < 6:
            raise EOFError
        return stream.read(struct.unpack(">BxI", header)[1])


def acceptance(body: bytes) -> bytes:
    request = AssociateRequest.decode(body)
    contexts = tuple(AnsweredContext(each.context_id, 0, IMPLICIT_LE) for each in request.contexts)
    user = UserInformation(max_length=16384, implementation_class="1.2.3")
    return AssociateAccept(request.called, request.calling, contexts, user).encode()


@pytest.fixture
def staller(request: pytest.FixtureRequest) -> Iterator[Staller]:
    staller = Staller(**request.param)
    yield staller
    staller.close()


async def ask(port: int) -> None:
    peer = Peer("pacs", "PACS", "127.0.0.1", port, timeout_s=DEADLINE_S)
    limits = Limits(pdu_s=DEADLINE_S, linger_s=DEADLINE_S)
    proposal = scu.Proposal(STUDY_ROOT_GET, (IMPLICIT_LE,))
    association = await scu.connect(peer, [proposal], limits, calling="ISTHMUS")
    limits = scu.of_peer(limits, peer)
    async for _ in scu.get(association, 1, bytes(8), limits, on_store=_nothing):
        raise AssertionError("there is no answer")


async def _nothing(*_: object) -> None:
    raise AssertionError("there is no instance")


@pytest.mark.parametrize(
    "staller",
    [
        pytest.param({"accepts": False, "last_words": b""}, id="mute"),
        pytest.param({"accepts": True, "last_words": b""}, id="no answer"),
        pytest.param({"accepts": True, "last_words": INSIDE_A_PDU[:3]}, id="inside a header"),
        pytest.param({"accepts": True, "last_words": INSIDE_A_PDU}, id="inside a PDU"),
    ],
    indirect=True,
)
def test_a_peer_that_stops_answering_is_given_up(ground: Ground, staller: Staller):
    with pytest.raises((UpstreamTimeout, UpstreamFailed, AssociationLost, NoResponse)):
        ground.begin(ask(staller.port)).result(PATIENCE_S)


@pytest.mark.parametrize("staller", [{"accepts": True, "last_words": INSIDE_A_PDU}], indirect=True)
def test_stock_pynetdicom_waits_for_good(staller: Staller):
    barracks = Barracks()
    try:
        getter = barracks.start(Order("getter", "", deadline_s=1.0, port=staller.port))

        assert not eventually(lambda: not Path(f"/proc/{getter.pid}").exists(), 4.0)

        getter.kill()
    finally:
        barracks.close()
