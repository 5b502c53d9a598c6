"""Items that are pushed outlast the bridge, as a whole list and one by one."""

import pytest

from bridge.worklist.pushed import Pushed, named, pushed_step
from service.dicom.errors import BadRequest, NotFound, TooLarge, TooMany
from tests.dimse.worklist.scheduling import ITEMS, Scheduling, an_item, patients


def pushed(bridge: Scheduling) -> Pushed:
    found = bridge.procedures.pushed
    assert found is not None
    return found


def put(bridge: Scheduling, identity: str, number: int) -> bool:
    return bridge.ground.run(pushed(bridge).put(identity, pushed_step(an_item(number))))


def again(bridge: Scheduling, start) -> Scheduling:
    bridge.end()
    found: Scheduling = start()
    return found


def test_a_list_and_its_changes_are_there_after_a_restart(start):
    bridge = start()
    bridge.push(ITEMS[:3])
    assert put(bridge, "x", 9)
    assert not put(bridge, "x", 10)
    bridge.ground.run(pushed(bridge).remove(named(ITEMS[0])[0]))

    bridge = again(bridge, start)

    assert patients(bridge.ask()) == {"P2", "P3", "P10"}


def test_a_list_makes_an_end_of_what_was_put_before(start):
    bridge = start()
    put(bridge, "x", 9)
    bridge.push(ITEMS[:1])
    assert patients(bridge.ask()) == {"P1"}

    assert patients(again(bridge, start).ask()) == {"P1"}


def test_changes_are_folded_into_the_list_in_time(start):
    bridge = start(changes=3)
    for number in range(10):
        put(bridge, f"item-{number}", number)
    bridge.ground.run(pushed(bridge).remove("item-4"))

    kept = sorted(path.name for path in (bridge.settings.state / "worklist").iterdir())
    assert "list.json" in kept and len(kept) <= 4
    assert patients(again(bridge, start).ask()) == {f"P{number}" for number in range(10)} - {"P4"}


def test_a_damaged_list_is_set_aside_and_what_was_put_since_is_kept(start):
    bridge = start()
    bridge.push(ITEMS[:1])
    put(bridge, "x", 9)
    bridge.end()
    folder = bridge.settings.state / "worklist"
    (folder / "list.json").write_bytes(b'{"format": 1, "generation": 1, "items": {"a": "{"}}')

    bridge = start()

    assert patients(bridge.ask()) == {"P9"}
    assert (folder / "list.json.damaged").exists()
    bridge.push([an_item(7)])
    assert patients(again(bridge, start).ask()) == {"P7"}


def test_items_that_are_too_long_together_are_refused(start):
    bridge = start(held_bytes=600)
    assert put(bridge, "x", 1)

    with pytest.raises(TooMany):
        put(bridge, "y", 2)
    with pytest.raises(TooMany):
        bridge.push(ITEMS)
    assert not put(bridge, "x", 1)
    assert patients(bridge.ask()) == {"P1"}


def test_more_items_than_there_may_be_are_refused(start):
    bridge = start(items=2)
    bridge.push(ITEMS[:2])

    with pytest.raises(TooMany):
        bridge.push(ITEMS[:3])
    with pytest.raises(TooMany):
        put(bridge, "x", 9)
    assert patients(bridge.ask()) == {"P1", "P2"}


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ([], "not a DICOM JSON object"),
        ({}, "Scheduled Procedure Step Sequence"),
        ({"00400100": {"vr": "SQ", "Value": []}}, "Scheduled Procedure Step Sequence"),
        ({**an_item(1), "0010": {}}, "8 hexadecimal digits"),
        ({**an_item(1), "00100020": {"vr": "XX", "Value": ["P1"]}}, "value representation"),
        ({**an_item(1), "00420011": {"vr": "OB", "BulkDataURI": "file:///etc/passwd"}}, "BulkDataURI"),
        (an_item(1, step={"00400009": None}), "ScheduledProcedureStepID"),
        (an_item(1, step={"00400002": ""}), "ScheduledProcedureStepStartDate"),
        (an_item(1, more={"0020000D": None, "00100010": ""}), "PatientName, StudyInstanceUID"),
    ],
)
def test_an_item_that_is_none_is_refused_with_what_it_lacks(document, words):
    with pytest.raises(BadRequest, match=words) as refused:
        pushed_step(document)
    assert "P1" not in str(refused.value)


def test_an_item_may_be_neither_huge_nor_deep():
    with pytest.raises((TooLarge, BadRequest)):
        pushed_step(an_item(1, more={"00321060": "x" * 70_000}))
    deep: dict[str, object] = {}
    for _ in range(200):
        deep = {"00081110": {"vr": "SQ", "Value": [deep]}}
    with pytest.raises(BadRequest):
        pushed_step({**an_item(1), **deep})


def test_two_items_of_one_step_are_refused(start):
    with pytest.raises(BadRequest):
        start().push([an_item(1), an_item(1)])


def test_what_is_not_there_cannot_be_forgotten(start):
    bridge = start()
    with pytest.raises(NotFound):
        bridge.ground.run(pushed(bridge).remove("nobody"))
