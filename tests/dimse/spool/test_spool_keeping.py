"""What the archive does not take is kept, durable before it is acknowledged, and sent on later."""

import errno
import os
from pathlib import Path

import pytest

from tests.dimse.dimse_peers import RawPeer, a_context, a_store, a_uid, an_instance, data_set_of
from tests.dimse.spool.conftest import StartSpooling
from tests.dimse.spool.spooling import Site, of_study

SIZES = [0, 2_000, 527_000, (1 << 20) - 700, 1 << 20, 5_000_001]


@pytest.mark.parametrize("size_bytes", SIZES)
def test_what_the_archive_takes_leaves_nothing_in_the_spool(start: StartSpooling, site: Site, size_bytes):
    bridge = start()
    instance = an_instance(size_bytes)

    assert bridge.send(instance) == [0]

    assert site.stored == [instance.data]
    bridge.until(lambda: bridge.files == [])
    assert bridge.spool.space.held_bytes == 0


@pytest.mark.parametrize("size_bytes", SIZES)
def test_an_instance_is_acknowledged_while_the_archive_is_away_and_forwarded_when_it_is_back(
    start: StartSpooling, site: Site, size_bytes
):
    bridge = start()
    site.leave()
    instance = an_instance(size_bytes)

    assert bridge.send(instance) == [0]
    (name,) = bridge.files
    kept = (bridge.settings.state / "spool" / name).read_bytes()
    assert data_set_of(kept) == instance.data
    assert (bridge.settings.state / "spool" / name).stat().st_mode & 0o077 == 0  # nobody else reads it
    site.come()
    bridge.until_forwarded()

    assert site.stored == [instance.data]
    assert bridge.files == []
    assert bridge.spool.space.held_bytes == 0


@pytest.mark.parametrize("status", [401, 403, 404, 500, 502, 503, 504, 507])
def test_an_answer_that_is_no_word_on_the_instance_has_it_kept(start: StartSpooling, site: Site, status):
    bridge = start()
    answer = site.archive.answering(status)
    site.archive.behaviours += [answer] * 3

    instance = an_instance()
    assert bridge.send(instance) == [0]
    bridge.until_forwarded()

    assert site.stored == [instance.data]
    assert bridge.spool.spooled == 1


@pytest.mark.parametrize(
    ("http", "reason", "status"),
    [
        (409, {"failure": 0x0111}, 0x0111),
        (409, {"failure": 0xC000}, 0xC000),
        (409, {"failure": 0xA700}, 0xA700),
        (413, {}, 0xA700),
        (400, {}, 0x0110),
        (415, {}, 0x0110),
    ],
)
def test_a_refusal_of_the_archive_is_answered_and_nothing_is_kept(
    start: StartSpooling, site: Site, http, reason, status
):
    bridge = start()
    site.archive.behaviours.append(site.archive.answering(http, **reason))

    assert bridge.send(an_instance()) == [status]

    assert bridge.files == []
    assert bridge.spool.spooled == 0


def test_a_warning_of_the_archive_is_answered(start: StartSpooling, site: Site):
    bridge = start()
    site.archive.behaviours.append(site.archive.answering(202, warning=0xB006))

    assert bridge.send(an_instance()) == [0xB006]

    assert bridge.files == []


@pytest.mark.parametrize("size_bytes", [200_000, 6_000_000])
@pytest.mark.parametrize("away", [False, True])
def test_of_an_instance_that_does_not_come_whole_nothing_stays(
    start: StartSpooling, site: Site, size_bytes, away
):
    bridge = start()
    if away:
        site.leave()
        assert bridge.send(an_instance()) == [0]  # the archive is known to be away
    kept = bridge.files

    with RawPeer(bridge.address) as peer:
        peer.associate(a_context())
        packets = a_store(an_instance(size_bytes))
        peer.send(b"".join(packets[: len(packets) - 2]))
    bridge.until(lambda: bridge.listener.associations == 0)

    assert bridge.files == kept
    assert site.archive.parts == []
    assert bridge.spool.space.held_bytes == sum(
        (bridge.settings.state / "spool" / name).stat().st_size for name in kept
    )


def test_a_full_spool_refuses_and_takes_again_when_there_is_room(start: StartSpooling, site: Site):
    bridge = start(size_bytes=3_000_000)
    site.leave()
    study = a_uid()

    statuses = bridge.send(*(of_study(study, 900_000) for _ in range(5)))

    assert statuses == [0, 0, 0, 0xA700, 0xA700]
    assert len(bridge.files) == 3
    site.come()
    bridge.until_forwarded()
    site.leave()
    assert bridge.send(of_study(study, 900_000)) == [0]


def test_an_instance_larger_than_the_spool_still_goes_to_the_archive(start: StartSpooling, site: Site):
    bridge = start(size_bytes=2_000_000)
    large = an_instance(9_000_000)

    assert bridge.send(large) == [0]
    assert site.stored == [large.data]
    site.leave()
    assert bridge.send(large) == [0xA700]

    assert bridge.files == []
    assert bridge.spool.space.held_bytes == 0


def test_so_many_instances_are_kept_and_no_more(start: StartSpooling, site: Site):
    bridge = start(instances=2)
    site.leave()

    assert bridge.send(*(an_instance() for _ in range(3))) == [0, 0, 0xA700]


def test_room_is_left_on_the_disk(start: StartSpooling, site: Site, tmp_path: Path):
    free = os.statvfs(tmp_path)
    bridge = start(reserve_bytes=2 * free.f_frsize * free.f_blocks)
    site.leave()

    assert bridge.send(an_instance()) == [0xA700]
    assert bridge.ask("/spool").json["state"] == "full"
    assert bridge.files == []
    site.come()
    assert bridge.send(an_instance()) == [0]


def test_a_folder_that_cannot_be_written_costs_no_instance(start: StartSpooling, site: Site):
    bridge = start()
    spool = bridge.settings.state / "spool"
    spool.rmdir()
    spool.write_bytes(b"")
    large = an_instance(4_000_000)

    assert bridge.send(large) == [0]
    site.leave()
    assert bridge.send(large, an_instance()) == [0xA700, 0xA700]

    assert site.stored == [large.data]


def test_a_disk_that_does_not_sync_takes_nothing_and_is_told_to_be_full(
    start: StartSpooling, site: Site, monkeypatch: pytest.MonkeyPatch
):
    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    bridge = start()
    site.leave()
    monkeypatch.setattr(os, "fsync", fail)

    assert bridge.send(an_instance()) == [0xA700]

    monkeypatch.undo()
    assert bridge.files == []
    assert bridge.spool.space.held_bytes == 0
    assert bridge.ask("/spool").json["state"] == "full"
    assert bridge.ask("/readyz").status == 503


def test_the_same_instance_sent_again_is_kept_once(start: StartSpooling, site: Site):
    bridge = start()
    site.leave()
    small, large = an_instance(), an_instance(3_000_000)

    assert bridge.send(small, large, small, large) == [0] * 4

    assert len(bridge.files) == 2
    assert bridge.spool.space.held_bytes == bridge.spool.lanes.bytes
    site.come()
    bridge.until_forwarded()
    assert sorted(site.stored) == sorted([small.data, large.data])


def test_other_content_under_the_same_uid_is_kept_too(start: StartSpooling, site: Site):
    bridge = start()
    site.leave()
    study, uid = a_uid(), a_uid()
    one, other = of_study(study, 2000, uid), of_study(study, 2000, uid)

    assert bridge.send(one, other) == [0, 0]
    site.come()
    bridge.until_forwarded()

    assert site.stored == [one.data, other.data]


def test_a_spool_that_is_off_keeps_nothing(start: StartSpooling, site: Site):
    bridge = start(size_bytes=0)
    instance = an_instance()

    assert bridge.send(instance) == [0]
    site.leave()
    assert bridge.send(an_instance(), an_instance(3_000_000)) == [0xA700, 0xA700]

    assert site.stored == [instance.data]
    assert bridge.files == []


def test_a_spool_that_was_turned_off_still_sends_on_what_it_has(start: StartSpooling, site: Site):
    site.leave()
    instance = an_instance()
    assert start().send(instance) == [0]

    bridge = start(size_bytes=0)
    assert bridge.send(an_instance()) == [0xA700]
    site.come()
    bridge.until_forwarded()

    assert site.stored == [instance.data]
