"""Instances that arrive are sent on by rules: which, where to, in what order, and what keeps them here."""

import threading

from tests.dimse.committing import unused_port
from tests.dimse.dimse_peers import PATIENCE_S
from tests.dimse.forwarding.forwarded import (
    TAKES_CT,
    a_study,
    an_image,
    instances,
    peer_of,
    rule,
    sent,
    table,
    took,
    uids,
)


def test_what_fits_a_rule_goes_to_its_target(start, destination):
    there = destination()
    bridge = start(peer_of(there) + rule("dest", {"modality": "CT"}))
    study = a_study(5)

    assert sent(bridge.port, study) == [0] * 5

    assert sorted(took(there, 5)) == sorted(uids(study))
    told = bridge.wait("dest", lambda told: told["forwarded"] == 5)
    assert (told["waiting"], told["failed"], told["error"], told["kind"]) == (0, 0, "", "peer")


def test_what_fits_no_rule_stays(start, destination, served):
    there = destination()
    bridge = start(peer_of(there) + rule("dest", {"modality": ["MR", "PT"], "calling": "SCANNER*"}))

    assert sent(bridge.port, [an_image(), an_image(Modality="MR")]) == [0, 0]
    assert sent(bridge.port, [an_image(Modality="PT")], calling="OTHER") == [0]

    assert len(took(there, 1)) == 1
    assert bridge.wait("dest", lambda told: told["forwarded"] == 1)["waiting"] == 0


def test_each_target_of_several_rules_gets_an_instance_once(start, destination):
    one, other = destination(title="ONE"), destination(title="OTHER")
    bridge = start(
        peer_of(one)
        + peer_of(other)
        + rule(["one", "other"], {"attributes": {"StudyDescription": "*thorax*"}})
        + rule("one", {"station": "CT?"})
    )
    image = an_image(StudyDescription="a thorax of sorts", StationName="CT1")

    sent(bridge.port, [image])
    bridge.wait("one", lambda told: told["forwarded"] == 1 and not told["waiting"])
    bridge.wait("other", lambda told: told["forwarded"] == 1)

    assert instances(one) == instances(other) == uids([image])


def test_what_came_from_the_target_does_not_go_back(start, destination):
    there, elsewhere = destination(), destination(title="OTHER")
    bridge = start(peer_of(there) + peer_of(elsewhere) + rule(["dest", "other"]))

    sent(bridge.port, [an_image()], calling="dest")
    assert len(took(elsewhere, 1)) == 1

    assert bridge.told("dest")["waiting"] == 0
    assert there.got == []


def test_a_circle_of_servers_ends(start, destination):
    there = destination()
    bridge = start(peer_of(there) + rule("dest"), rounds=2)
    image = an_image()
    for times in (1, 2):
        sent(bridge.port, [image])
        bridge.wait("dest", lambda told, times=times: told["forwarded"] == times)

    assert sent(bridge.port, [image]) == [0]

    (failed,) = bridge.failed()
    assert "circle" in failed["error"]
    assert len(there.got) == 2


def test_a_target_that_was_away_gets_everything_in_the_end(start, destination):
    port = unused_port()
    peers = table("peers.dest", {"ae_title": "DEST", "host": "127.0.0.1", "port": port}) + rule("dest")
    bridge = start(peers)
    first, second = a_study(3), a_study(2)
    sent(bridge.port, first)
    assert bridge.wait("dest", lambda told: told["error"])["waiting"] == 3
    sent(bridge.port, second)

    there = destination(port=port)

    assert sorted(took(there, 5)) == sorted(uids(first + second))
    assert bridge.wait("dest", lambda told: not told["waiting"])["failed"] == 0


def test_what_a_target_refuses_for_good_is_told_and_tried_again_when_asked(start, destination):
    study = a_study(4)
    bad = {str(study[1].SOPInstanceUID): 0xC000, str(study[2].SOPInstanceUID): 0xA900}
    there = destination(TAKES_CT, lambda self, uid: bad.get(uid, 0))
    bridge = start(peer_of(there) + rule("dest"))

    sent(bridge.port, study)
    bridge.wait("dest", lambda told: told["failed"] == 2 and not told["waiting"])
    failed = {one["instance"]: one for one in bridge.failed()}
    assert set(failed) == set(bad)
    assert "C000" in failed[str(study[1].SOPInstanceUID)]["error"]
    first, second = (failed[uid]["id"] for uid in bad)
    bad.clear()
    assert bridge.ask(f"/forwarding/failed/{first}/retry", "POST").status == 204
    bridge.wait("dest", lambda told: told["forwarded"] == 3)
    assert bridge.ask(f"/forwarding/failed/{second}", "DELETE").status == 204

    assert bridge.failed() == []
    assert bridge.ask(f"/forwarding/failed/{second}").status == 404
    assert len(there.got) == 3


def test_what_a_target_cannot_take_now_is_tried_again(start, destination):
    tries: list[str] = []

    def full_at_first(self, uid: str) -> int:
        tries.append(uid)
        return 0xA700 if len(tries) < 4 else 0

    there = destination(TAKES_CT, full_at_first)
    bridge = start(peer_of(there) + rule("dest"))
    study = a_study(2)

    sent(bridge.port, study)

    assert sorted(took(there, 2)) == sorted(uids(study))
    assert bridge.failed() == []


def test_a_study_that_has_become_quiet_is_sent(start, destination):
    there = destination()
    bridge = start(peer_of(there) + rule("dest", quiet_s=0.2, delay_s=0.1))
    study = a_study(3)

    sent(bridge.port, study)

    assert sorted(took(there, 3)) == sorted(uids(study))


def test_what_was_promised_goes_on_after_a_restart(start, destination):
    port = unused_port()
    peers = table("peers.dest", {"ae_title": "DEST", "host": "127.0.0.1", "port": port}) + rule("dest")
    first = start(peers)
    study = a_study(4)
    sent(first.port, study)
    first.end()
    there = destination(port=port)

    start(peers)

    assert sorted(took(there, 4)) == sorted(uids(study))


def test_what_was_promised_to_a_peer_goes_on_though_no_rule_names_it_any_more(start, destination):
    port = unused_port()
    peers = table("peers.dest", {"ae_title": "DEST", "host": "127.0.0.1", "port": port})
    first = start(peers + rule("dest"))
    study = a_study(2)
    sent(first.port, study)
    first.end()
    there = destination(port=port)

    second = start(peers)

    assert sorted(took(there, 2)) == sorted(uids(study))
    assert second.wait("dest", lambda told: told["forwarded"] == 2)["failed"] == 0
    assert second.failed() == []


def test_peers_that_nothing_goes_to_are_not_told_of(start, destination):
    named, other = (
        destination(),
        table("peers.other", {"ae_title": "OTHER", "host": "192.0.2.1", "port": 104}),
    )
    bridge = start(other + peer_of(named) + rule("dest"))

    assert [one["target"] for one in bridge.ask("/forwarding").json] == ["dest", None]


def test_a_target_that_is_not_in_the_file_any_more_leaves_its_instances_to_be_seen(start, destination):
    there = table("peers.dest", {"ae_title": "DEST", "host": "127.0.0.1", "port": unused_port()})
    first = start(there + rule("dest"))
    sent(first.port, [an_image()])
    first.end()
    second = start("")

    (failed,) = second.failed()
    refused = second.ask(f"/forwarding/failed/{failed['id']}/retry", "POST")
    told = second.told("dest")

    assert "ISTHMUS_PEERS" in failed["error"]
    assert refused.status == 400
    assert (told["known"], told["failed"]) == (False, 1)
    assert second.ask("/forwarding/failed?target=dest", "DELETE").json == {"deleted": 1}
    assert second.failed() == []


def test_a_slow_target_holds_up_no_other(start, destination):
    go_on = threading.Event()

    def slow(self, uid: str) -> int:
        assert go_on.wait(PATIENCE_S)
        return 0

    stuck, quick = destination(TAKES_CT, slow, title="STUCK"), destination(title="QUICK")
    bridge = start(peer_of(stuck) + peer_of(quick) + rule(["stuck", "quick"]))
    study = a_study(3)

    sent(bridge.port, study)
    assert len(took(quick, 3)) == 3
    go_on.set()

    assert len(took(stuck, 3)) == 3


def test_what_the_spool_keeps_is_sent_on_when_the_archive_has_it(start, destination, served):
    away = threading.Event()
    away.set()
    served.trouble = lambda scope, number: 503 if away.is_set() and scope["method"] == "POST" else None
    there = destination()
    bridge = start(peer_of(there) + rule("dest"), spool_bytes=1 << 28, missing_tries=1, replay_delay_s=0.01)
    study = a_study(2)
    assert sent(bridge.port, study) == [0, 0]
    told = bridge.wait("dest", lambda told: told["error"])
    assert (told["waiting"], told["failed"]) == (2, 0)
    assert "spool" in told["error"]

    away.clear()

    assert sorted(took(there, 2)) == sorted(uids(study))
    assert bridge.failed() == []


def test_when_too_much_waits_the_sender_is_told(start, destination, caplog):
    there = table("peers.dest", {"ae_title": "DEST", "host": "127.0.0.1", "port": unused_port()})
    bridge = start(there + rule("dest"), most=3)

    assert sent(bridge.port, a_study(5)) == [0, 0, 0, 0xA700, 0xA700]

    assert "ISTHMUS_FORWARD_MAX" in caplog.text


def test_without_room_on_the_disk_nothing_is_promised(start, destination, monkeypatch):
    there = destination()
    bridge = start(peer_of(there) + rule("dest"))
    image = an_image()
    journal = bridge.forwarding._ledger._journal

    def full(content: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(journal, "_write", full)
    assert sent(bridge.port, [image]) == [0xA700]
    assert bridge.told("dest")["waiting"] == 0
    monkeypatch.undo()

    assert sent(bridge.port, [image]) == [0]
    assert took(there, 1) == uids([image])
