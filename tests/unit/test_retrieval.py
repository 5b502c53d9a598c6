"""What a C-MOVE or C-GET asks for, and bytes given out in turn."""

import asyncio

import pytest

from bridge.archive.budget import Budget
from bridge.sending.tally import Outcome, Tally, outcome
from bridge.upper.command import Tag
from service.dicom.errors import BadKey
from service.dicom.identifier import Identifier, Key
from service.dicom.querying import Root
from service.dicom.resource import InstanceKey, Level
from service.dicom.retrieval import Wanted, read_wanted, relational

LEVEL, PATIENT, STUDY, SERIES, INSTANCE = 0x00080052, 0x00100020, 0x0020000D, 0x0020000E, 0x00080018


def identifier(level: str, **keys: str) -> Identifier:
    tags = {
        "patient": PATIENT,
        "study": STUDY,
        "series": SERIES,
        "instance": INSTANCE,
        "modality": 0x00080060,
    }
    named = [Key(tags[name], "UI", text) for name, text in keys.items()]
    return Identifier((Key(LEVEL, "CS", level), *named))


@pytest.mark.parametrize(
    ("root", "asked", "wanted"),
    [
        (Root.PATIENT, identifier("PATIENT", patient="P 1"), Wanted(Level.PATIENT, patient="P 1")),
        (Root.STUDY, identifier("STUDY", study="1.2\\1.3\\1.2"), Wanted(Level.STUDY, studies=("1.2", "1.3"))),
        (Root.STUDY, identifier("STUDY", study="1.2\\ "), Wanted(Level.STUDY, studies=("1.2",))),
        (
            Root.PATIENT,
            identifier("SERIES", patient="P", study="1.2", series="1.3"),
            Wanted(Level.SERIES, studies=("1.2",), series=("1.3",)),
        ),
        (
            Root.STUDY,
            identifier("IMAGE", study="1.2", series="1.3", instance="1.4\\1.5"),
            Wanted(Level.INSTANCE, studies=("1.2",), series=("1.3",), instances=("1.4", "1.5")),
        ),
        (Root.PATIENT_STUDY_ONLY, identifier("", patient="P"), Wanted(Level.PATIENT, patient="P")),
    ],
)
def test_keys_name_a_level_and_what_is_wanted_there(root: Root, asked: Identifier, wanted: Wanted):
    assert read_wanted(asked, root) == wanted


def test_relational_retrieval_lets_a_strict_peer_leave_levels_out():
    asked = identifier("IMAGE", instance="1.4")

    with pytest.raises(BadKey) as refused:
        read_wanted(asked, Root.STUDY, strict=True)
    assert refused.value.tag == STUDY
    assert read_wanted(asked, Root.STUDY, strict=True, is_relational=True).instances == ("1.4",)


@pytest.mark.parametrize(
    ("offered", "answer"),
    [(b"\1", b"\1"), (b"\0", b"\0"), (b"\1\1", b"\1\0"), (b"\1\1\1", b"\1\0"), (b"", b"")],
)
def test_extended_negotiation_agrees_to_relational_retrieval_only(offered: bytes, answer: bytes):
    assert relational(offered) == answer


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (0x0000, Outcome.COMPLETED),
        (0xB000, Outcome.WARNING),
        (0xB007, Outcome.WARNING),
        (0x0107, Outcome.WARNING),
        (0x0001, Outcome.WARNING),
        (0xA700, Outcome.FAILED),
        (0xFF00, Outcome.FAILED),
        (0x0122, Outcome.FAILED),
    ],
)
def test_a_status_is_an_outcome(status: int, expected: Outcome):
    assert outcome(status) is expected


def test_counts_tell_what_remains_only_where_it_may_stand():
    tally = Tally(4)
    tally.count(InstanceKey("1", "1", "1.1"), Outcome.COMPLETED)
    tally.count(InstanceKey("1", "1", "1.2"), Outcome.FAILED)

    assert tally.counts(remaining=False) == {Tag.COMPLETED: 1, Tag.FAILED: 1, Tag.WARNING: 0}
    assert tally.counts(remaining=True)[Tag.REMAINING] == 2
    assert tally.failures == ["1.2"]


def test_bytes_are_given_out_in_the_order_in_which_they_are_asked_for():
    async def scenario() -> list[str]:
        budget, got = Budget(10), []

        async def take(name: str, size: int) -> None:
            got.append(f"{name}{await budget.take(size)}")

        await take("a", 7)
        waiting = [asyncio.create_task(take("b", 5)), asyncio.create_task(take("c", 1))]
        await asyncio.sleep(0)
        assert got == ["a7"]
        budget.give(7)
        await asyncio.gather(*waiting)
        assert budget.left == 4
        return got

    assert asyncio.run(scenario()) == ["a7", "b5", "c1"]


def test_who_waits_no_longer_holds_up_nobody():
    async def scenario() -> None:
        budget = Budget(10)
        assert await budget.take(100) == 10  # all there are
        first, second = (asyncio.create_task(budget.take(size)) for size in (10, 2))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        budget.give(10)
        assert await second == 2
        third = asyncio.create_task(budget.take(10))
        await asyncio.sleep(0)
        budget.give(2)  # its turn has come, and it is called off before it knows
        third.cancel()
        await asyncio.gather(third, return_exceptions=True)
        assert budget.left == 10

    asyncio.run(scenario())
