"""Performed procedure steps as they are kept: what goes to several peers, each at its own pace."""

import asyncio
from pathlib import Path

from bridge.forwarding.rules import Caller, Rule
from bridge.mpps.settings import MppsSettings
from bridge.mpps.step import PerformedStep
from bridge.mpps.steps import PerformedSteps
from bridge.state import StateFolder

INSTANCE = "1.2.3"
CREATED = {"00400252": {"vr": "CS", "Value": ["IN PROGRESS"]}}
CALLER = Caller("CT1")


def described(text: str) -> dict[str, object]:
    return {"00400254": {"vr": "LO", "Value": [text]}}


async def opened(folder: StateFolder) -> PerformedSteps:
    rule = Rule("all", ("slow", "quick"), on="mpps")
    steps = PerformedSteps(MppsSettings(), folder.shelf("mpps", most=10), [rule])
    await steps.start()
    return steps


async def taken(steps: PerformedSteps, peer: str, count: int) -> None:
    for _ in range(count):
        step = steps.find(INSTANCE)
        await steps.note_delivery(INSTANCE, peer, step.messages[step.deliveries[peer].sent])


def test_a_refusal_counts_for_its_message_though_others_were_done_with_it_meanwhile(tmp_path: Path):
    async def work() -> tuple[PerformedStep, bool]:
        folder = StateFolder.open(tmp_path / "state")
        steps = await opened(folder)
        await steps.create(INSTANCE, CREATED, CALLER, "127.0.0.1", "")
        for text in ("first", "second"):
            await steps.change(INSTANCE, described(text), CALLER, "", strict=False)
        await taken(steps, "quick", 2)
        step = steps.find(INSTANCE)
        asked = step.messages[step.deliveries["quick"].sent]
        await taken(steps, "slow", 3)  # before the quick one has answered
        await steps.note_delivery(INSTANCE, "quick", asked, failed="it answers 0112")
        await steps.stop()
        await folder.close()

        folder = StateFolder.open(tmp_path / "state")
        again = await opened(folder)
        kept = again.find(INSTANCE)
        tried = await again.try_again(INSTANCE)
        await again.stop()
        await folder.close()
        return kept, tried.owed("quick")

    kept, is_tried_again = asyncio.run(work())
    assert kept.deliveries["quick"].failed == "it answers 0112"
    assert len(kept.messages) == 1
    assert is_tried_again
