"""Retrievals that are under way when the bridge is told to stop."""

import threading

import pytest

from bridge.peers import Peer
from bridge.upper import pdu
from bridge.upper.associate import Role, UserInformation
from bridge.upper.command import Operation
from tests.dimse.asking import RawScp, scripted
from tests.dimse.dimse_peers import (
    CT_IMAGE,
    EXPLICIT_LE,
    IMPLICIT_LE,
    PATIENCE_S,
    RawPeer,
    a_command,
    a_context,
    a_uid,
    p_data,
)
from tests.dimse.retrieve.retrieving import STUDY_GET, STUDY_MOVE, an_object
from tests.dimse.retrieve.test_troubles import implicit

SIZES = [500, 20 << 20]


def asking(peer: RawPeer, model: str, study: str) -> None:
    """Ask for a study, on an association that is opened for it."""
    roles = (Role(CT_IMAGE, scu=False, scp=True),)
    user = UserInformation(max_length=16384, implementation_class="1.2.3", roles=roles)
    peer.associate(a_context(1, model, IMPLICIT_LE), a_context(3, CT_IMAGE, EXPLICIT_LE), user=user)
    told: dict[str, int | str] = {"affected_sop_class": model, "priority": 0}
    if model == STUDY_MOVE:
        told["move_destination"] = "DEST"
    operation = Operation.C_MOVE if model == STUDY_MOVE else Operation.C_GET
    peer.send(p_data(1, a_command(operation, has_data=True, **told), command=True))
    identifier = implicit(0x00080052, b"STUDY ") + implicit(0x0020000D, study.encode())
    peer.send(p_data(1, identifier, command=False))


@pytest.mark.parametrize("size_bytes", SIZES)
def test_a_move_whose_destination_does_not_answer_is_cut_off_in_time(start, served, size_bytes: int):
    study, series = a_uid(), a_uid()
    served.keep(an_object(size_bytes, study=study, series=series).part10 for _ in range(3))
    sent = threading.Event()

    def silent(peer: RawScp) -> None:
        peer.accept()
        peer.command()
        sent.set()

    with scripted(silent) as port:
        bridge = start(Peer("dest", "DEST", "127.0.0.1", port))
        with RawPeer(bridge.address) as peer:
            asking(peer, STUDY_MOVE, study)
            assert sent.wait(PATIENCE_S)

            bridge.drain(0.2).result(30)

            assert bridge.report().result == "cut off"
            while (kind := peer.next_pdu()[0]) == pdu.Kind.P_DATA:
                pass
            assert kind == pdu.Kind.ABORT


@pytest.mark.parametrize("size_bytes", SIZES)
def test_a_get_whose_asker_does_not_answer_is_cut_off_in_time(start, served, size_bytes: int):
    study, series = a_uid(), a_uid()
    served.keep(an_object(size_bytes, study=study, series=series).part10 for _ in range(3))
    bridge = start()
    with RawPeer(bridge.address, receive_bytes=65536) as peer:
        asking(peer, STUDY_GET, study)
        while (control := peer.next_pdu()[1][5]) & pdu.COMMAND:  # a pending response, and the request
            assert control & pdu.LAST

        bridge.drain(0.2).result(30)

        assert bridge.report().result == "cut off"


def test_a_retrieval_whose_archive_does_not_answer_is_cut_off_in_time(start, served, monkeypatch):
    reached, go_on = threading.Event(), threading.Event()
    app = served.app

    async def stuck(scope, receive, send):
        if scope["type"] == "http" and scope["path"].endswith("/instances"):
            reached.set()
            await receive()
            await receive()  # until the bridge hangs up
            go_on.set()
            return
        await app(scope, receive, send)

    monkeypatch.setattr(served, "app", stuck)
    bridge = start()
    with RawPeer(bridge.address) as peer:
        asking(peer, STUDY_GET, a_uid())
        assert reached.wait(PATIENCE_S)

        bridge.drain(0.2).result(30)

        assert bridge.report().result == "cut off"
    assert go_on.wait(PATIENCE_S)
