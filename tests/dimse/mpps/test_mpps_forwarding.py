"""Messages about steps go on to peers by rule: in order, until they are taken, and not in circles."""

import threading

import pytest

from bridge.forwarding.rules import Rule
from bridge.mpps.step import PerformedStep
from tests.dimse.committing import unused_port
from tests.dimse.dimse_peers import PATIENCE_S, a_uid
from tests.dimse.mpps.performing import Receiver, a_step, an_end, of, receiving
from tests.dimse.worklist.scheduling import Scheduling


def until(bridge: Scheduling, instance: str, reached) -> PerformedStep:
    """The step once it is as `reached` wants it."""
    pause = threading.Event()
    for _ in range(int(PATIENCE_S / 0.02)):
        step = bridge.procedures.steps.find(instance)
        if reached(step):
            return step
        pause.wait(0.02)
    raise AssertionError(step)


def test_messages_are_passed_on_in_their_order(start, modality):
    ris, instance = Receiver(), a_uid()
    with receiving(ris) as port:
        bridge = start(ris=port)
        ct = modality(bridge.port)
        ct.create(a_step(PatientName="Müller^Jürgen", SpecificCharacterSet="ISO_IR 100"), instance)
        ct.set(of(PerformedProcedureStepDescription="Thorax"), instance)
        ct.set(an_end(), instance)

        came = [ris.next() for _ in range(3)]
        step = until(bridge, instance, lambda step: not step.owes)

    assert [(operation, uid) for operation, uid, _ in came] == [
        ("create", instance), ("set", instance), ("set", instance),
    ]  # fmt: skip
    assert (came[0][2].PatientName, came[0][2].SpecificCharacterSet) == ("Müller^Jürgen", "ISO_IR 100")
    assert came[0][2].ScheduledStepAttributesSequence[0].StudyInstanceUID == "1.2.3.1"
    assert [came[n][2].get("PerformedProcedureStepStatus") for n in (0, 1, 2)] == [
        "IN PROGRESS", None, "COMPLETED",
    ]  # fmt: skip
    assert step.messages == ()


def test_a_receiver_that_is_away_gets_all_when_it_is_back(start, modality):
    ris, port = Receiver(), unused_port()
    bridge = start(ris=port)
    ct = modality(bridge.port)
    first, second = a_uid(), a_uid()
    for instance in (first, second):
        ct.create(a_step(), instance)
        ct.set(an_end(), instance)
    bridge.end()

    bridge = start(ris=port)  # what waits outlasts it
    with receiving(ris, port=port):
        came = [ris.next()[:2] for _ in range(4)]
        until(bridge, second, lambda step: not step.owes)

    assert came == [("create", first), ("set", first), ("create", second), ("set", second)]


@pytest.mark.parametrize(
    ("answers", "state"),
    [
        ([0x0213, 0x0110, 0x0000, 0x0000], ""),  # later, later, taken, taken
        ([0x0111, 0x0000], ""),  # it was there already
        ([0x0107, 0x0000], ""),
        ([0x0120], "it answers 0120"),
    ],
)
def test_what_the_receiver_answers_counts(start, modality, answers, state):
    ris, instance = Receiver(answers=list(answers)), a_uid()
    with receiving(ris) as port:
        bridge = start(ris=port)
        ct = modality(bridge.port)
        ct.create(a_step(), instance)
        ct.set(an_end(), instance)
        step = until(
            bridge, instance, lambda step: not step.owes and (step.status == "COMPLETED")
        )  # fmt: skip

        assert step.deliveries["ris"].failed == state
        if state:
            ris.came.queue.clear()
            bridge.ground.run(bridge.procedures.steps.try_again(instance))
            assert [ris.next()[0] for _ in range(2)] == ["create", "set"]
            assert not until(bridge, instance, lambda step: not step.owes).messages


def test_a_step_that_waits_keeps_no_other_one_waiting(start, modality):
    ris = Receiver(answers=[0x0213])
    first, second = a_uid(), a_uid()
    with receiving(ris) as port:
        bridge = start(ris=port, forward_delay_s=30.0)
        ct = modality(bridge.port)
        ct.create(a_step(), first)
        assert ris.next()[1] == first
        ct.create(a_step(), second)
        until(bridge, second, lambda step: not step.owes)
        until(bridge, first, lambda step: not step.owes)  # the new message made it be called again


def test_many_changes_that_wait_become_one(start, modality):
    ris, port, instance = Receiver(), unused_port(), a_uid()
    bridge = start(ris=port, messages=3)
    ct = modality(bridge.port)
    ct.create(a_step(), instance)
    for number in range(10):
        ct.set(of(PerformedProcedureStepDescription=f"change {number}"), instance)
    ct.set(an_end(), instance)
    assert len(bridge.procedures.steps.find(instance).messages) == 3

    with receiving(ris, port=port):
        came = [ris.next() for _ in range(3)]
        until(bridge, instance, lambda step: not step.owes)

    assert [operation for operation, _, _ in came] == ["create", "set", "set"]
    assert came[2][2].PerformedProcedureStepDescription == "change 9"
    assert came[2][2].PerformedProcedureStepStatus == "COMPLETED"


def test_a_receiver_that_never_takes_it_is_given_up(start, modality):
    bridge, instance = start(ris=unused_port(), forward_s=0.0), a_uid()
    modality(bridge.port).create(a_step(), instance)

    step = until(bridge, instance, lambda step: not step.owes)

    assert step.deliveries["ris"].failed == "it did not take it in time"


@pytest.mark.parametrize(
    ("rule", "goes"),
    [
        (Rule("by caller", ("ris",), on="mpps", calling=("CT*",)), True),
        (Rule("by caller", ("ris",), on="mpps", calling=("MR*",)), False),
        (Rule("of instances", ("ris",)), False),
    ],
)
def test_rules_say_what_is_passed_on(start, modality, rule, goes):
    bridge, instance = start(ris=unused_port(), rules=(rule,)), a_uid()
    modality(bridge.port).create(a_step(), instance)

    assert bridge.procedures.steps.find(instance).owed("ris") == goes


def test_nothing_goes_back_to_who_sent_it_and_nothing_in_circles(start, modality):
    bridge, instance = start(ris=unused_port()), a_uid()
    ct, ris = modality(bridge.port), modality(bridge.port, title="RIS")
    ris.create(a_step(), instance)
    other = a_uid()
    ct.create(a_step(), other)
    waiting = bridge.procedures.steps.find(other).messages
    ct.set(of(PerformedProcedureStepDescription=""), other)  # changes nothing

    assert bridge.procedures.steps.find(instance).deliveries == {}
    assert bridge.procedures.steps.find(other).messages == waiting
