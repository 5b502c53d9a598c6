"""What the asker of a retrieval hears while nothing seems to happen (PS3.7 9.1.4.1)."""

import threading

from bridge.peers import Peer
from bridge.upper.command import Tag, decode
from tests.dimse.asking import RawScp, scripted
from tests.dimse.dimse_peers import PATIENCE_S, RawPeer, a_uid
from tests.dimse.retrieve.retrieving import STUDY_MOVE, an_object
from tests.dimse.retrieve.test_drained_retrieves import asking


def test_pending_responses_come_while_the_destination_takes_its_time(start, served):
    study, series = a_uid(), a_uid()
    served.keep(an_object(study=study, series=series).part10 for _ in range(2))
    go_on = threading.Event()

    def slow(peer: RawScp) -> None:
        peer.accept()
        for _ in range(2):
            command = peer.command()
            while peer.next_pdu()[1][5] != 2:
                pass
            assert go_on.wait(PATIENCE_S)
            peer.answer(command)
        peer.next_pdu()

    with scripted(slow) as port:
        bridge = start(Peer("dest", "DEST", "127.0.0.1", port), pending_s=0.02, still_s=0.05)
        with RawPeer(bridge.address) as peer:
            asking(peer, STUDY_MOVE, study)
            pending = [decode(peer.next_pdu()[1][6:]) for _ in range(4)]
            go_on.set()
            while (final := decode(peer.next_pdu()[1][6:])).status == 0xFF00:
                pass

    assert [command.number(Tag.REMAINING) for command in pending] == [2, 2, 2, 2]
    assert (final.status, final.number(Tag.COMPLETED)) == (0x0000, 2)
