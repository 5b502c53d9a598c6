"""What we ask of a peer, with pynetdicom and DCMTK as the peers."""

import asyncio
import contextlib
import queue
from collections.abc import AsyncIterator, Iterator
from io import BytesIO
from typing import Any

import pytest
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID
from pynetdicom import AE, evt
from pynetdicom.dsutils import decode, encode
from pynetdicom.presentation import build_context

from bridge import scu
from bridge.scu import Found, Progress, Proposal
from bridge.upper.association import Association
from bridge.upper.command import Tag
from bridge.upper.messages import Message
from tests.dimse.asking import BOTH, PATIENT, archive, connected, ours, play
from tests.dimse.committing import listening
from tests.dimse.dimse_peers import (
    CT_IMAGE,
    EXPLICIT_LE,
    PATIENCE_S,
    VERIFICATION,
    Instance,
    an_instance,
)

FIND, MOVE, GET = (f"1.2.840.10008.5.1.4.1.2.2.{number}" for number in (1, 2, 3))
PUSH, PUSH_INSTANCE = "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1"


def an_identifier(**values: str) -> bytes:
    identifier = Dataset()
    identifier.QueryRetrieveLevel = "STUDY"
    for name, value in values.items():
        setattr(identifier, name, value)
    return encode(identifier, is_implicit_vr=False, is_little_endian=True) or b""


def test_echo():
    async def echo(port: int) -> str:
        async with connected(port, Proposal(VERIFICATION, BOTH), limits=PATIENT) as association:
            statuses = [await scu.echo(association, 1, timeout_s=PATIENCE_S) for _ in range(3)]
            assert statuses == [0, 0, 0]
        return str(association.result)

    with archive([], VERIFICATION) as port:
        assert play(echo(port)) == "released"


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("size", [0, 1, 16384, 1_000_001])
def test_store(streamed: bool, size: int):
    instance = an_instance(size)
    told: queue.Queue[tuple[Any, ...]] = queue.Queue()

    def handle(event: evt.Event) -> int:
        request: Any = event.request
        told.put(
            (
                request.DataSet.getvalue(),
                request.AffectedSOPInstanceUID,
                request.MoveOriginatorApplicationEntityTitle,
                request.MoveOriginatorMessageID,
            )
        )
        return 0xB007

    async def store(port: int) -> int:
        async with connected(port, Proposal(CT_IMAGE, (EXPLICIT_LE,)), limits=PATIENT) as association:
            data = pieces(instance.data) if streamed else instance.data
            return await scu.store(
                association,
                ours(association, CT_IMAGE),
                CT_IMAGE,
                instance.instance,
                data,
                timeout_s=PATIENCE_S,
                originator=("READER", 77),
            )

    with archive([(evt.EVT_C_STORE, handle)], CT_IMAGE) as port:
        assert play(store(port)) == 0xB007

    assert told.get(timeout=PATIENCE_S) == (instance.data, instance.instance, "READER", 77)


async def pieces(content: bytes) -> AsyncIterator[bytes]:
    """Blocks of odd and even sizes."""
    at, size = 0, 1
    while at < len(content):
        yield content[at : at + size]
        at, size = at + size, size * 3 % 70001
        await asyncio.sleep(0)


def finding(count: int, final: int = 0) -> Any:
    def handle(event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        for number in range(count):
            if event.is_cancelled:
                yield 0xFE00, None
                return
            match = Dataset()
            match.PatientID = f"{event.identifier.get('PatientID', '')}{number}"
            yield 0xFF01 if number % 2 else 0xFF00, match
        if final:
            yield final, None

    return evt.EVT_C_FIND, handle


@pytest.mark.parametrize("count", [0, 1, 300])
def test_find(count: int):
    async def find(port: int) -> list[Found]:
        async with connected(port, Proposal(FIND, (EXPLICIT_LE,)), limits=PATIENT) as association:
            context_id = ours(association, FIND)
            return [
                each
                async for each in scu.find(association, context_id, an_identifier(PatientID="A"), PATIENT)
            ]

    with archive([finding(count)], FIND) as port:
        *answers, final = play(find(port))

    assert [patient_id(each.identifier) for each in answers] == [f"A{number}" for number in range(count)]
    assert {each.status for each in answers} <= {0xFF00, 0xFF01}
    assert (final.status, final.pending, final.identifier) == (0, False, b"")


def test_find_that_fails_says_so():
    async def find(port: int) -> list[Found]:
        async with connected(port, Proposal(FIND, (EXPLICIT_LE,)), limits=PATIENT) as association:
            return [each async for each in scu.find(association, 1, an_identifier(), PATIENT)]

    with archive([finding(0, 0xA900)], FIND) as port:
        assert [each.status for each in play(find(port))] == [0xA900]


def patient_id(identifier: bytes) -> str:
    return str(decode(BytesIO(identifier), is_implicit_vr=False, is_little_endian=True).PatientID)


def test_find_that_is_closed_is_cancelled_and_leaves_the_association_usable():
    async def find(port: int) -> tuple[int, int]:
        async with connected(
            port, Proposal(FIND, BOTH), Proposal(VERIFICATION, BOTH), limits=PATIENT
        ) as association:
            answers = scu.find(association, ours(association, FIND), an_identifier(), PATIENT)
            async with contextlib.aclosing(answers):
                seen = 0
                async for _ in answers:
                    seen += 1
                    if seen == 5:
                        break
            return seen, await scu.echo(association, ours(association, VERIFICATION), timeout_s=PATIENCE_S)

    with archive([finding(1_000_000)], FIND, VERIFICATION) as port:
        assert play(find(port)) == (5, 0)


def getting(instances: list[Instance]) -> Any:
    def handle(event: evt.Event) -> Iterator[Any]:
        yield len(instances)
        for instance in instances:
            if event.is_cancelled:
                yield 0xFE00, None
                return
            data = Dataset()
            data.SOPClassUID, data.SOPInstanceUID = instance.sop_class, instance.instance
            data.PatientComments = "x" * 1000
            data.file_meta = FileMetaDataset()
            data.file_meta.TransferSyntaxUID = UID(EXPLICIT_LE)
            yield 0xFF00, data

    return handle


class Inbox:
    """Takes what a C-GET brings, as `bridge.scp.store.Store` does."""

    def __init__(self, status: int = 0) -> None:
        self.taken: list[str] = []
        self._status = status

    async def __call__(self, message: Message, association: Association) -> None:
        if message.data is not None:
            await message.data.drop()
        self.taken.append(message.command.text(Tag.AFFECTED_SOP_INSTANCE))
        await association.send(message.context.context_id, message.command.answered(self._status))


GETTING = (Proposal(GET, (EXPLICIT_LE,)), Proposal(CT_IMAGE, (EXPLICIT_LE,), scu=False, scp=True))


@contextlib.contextmanager
def giving(instances: list[Instance]) -> Iterator[int]:
    """A pynetdicom SCP of C-GET; its port."""
    entity = AE(ae_title="ARCHIVE")
    entity.add_supported_context(GET, list(BOTH))
    entity.add_supported_context(CT_IMAGE, list(BOTH), scu_role=True, scp_role=True)
    entity.add_supported_context(VERIFICATION)
    with listening(entity, [(evt.EVT_C_GET, getting(instances))]) as port:
        yield port


@pytest.mark.parametrize(("status", "final"), [(0, 0x0000), (0xB000, 0xB000), (0xA700, 0xA702)])
def test_get_by_role_selection(status: int, final: int):
    instances = [an_instance() for _ in range(20)]
    inbox = Inbox(status)

    async def get(port: int) -> list[Progress]:
        async with connected(port, *GETTING, limits=PATIENT) as association:
            asked = scu.get(association, ours(association, GET), an_identifier(), PATIENT, on_store=inbox)
            return [each async for each in asked]

    with giving(instances) as port:
        answers = play(get(port))

    assert inbox.taken == [each.instance for each in instances]
    last = answers[-1]
    assert last.status == final
    assert (last.completed, last.warning, last.failed) == (
        (20, 0, 0) if not status else (0, 20, 0) if status == 0xB000 else (0, 0, 20)
    )
    assert bool(last.identifier) is bool(status)


def test_get_that_is_closed_is_cancelled_and_leaves_the_association_usable():
    instances = [an_instance() for _ in range(300)]
    inbox = Inbox()

    async def get(port: int) -> int:
        async with connected(port, *GETTING, Proposal(VERIFICATION, BOTH), limits=PATIENT) as association:
            asked = scu.get(association, ours(association, GET), an_identifier(), PATIENT, on_store=inbox)
            async with contextlib.aclosing(asked):
                async for _ in asked:
                    break
            return await scu.echo(association, ours(association, VERIFICATION), timeout_s=PATIENCE_S)

    with giving(instances) as port:
        assert play(get(port)) == 0

    assert 1 <= len(inbox.taken) <= 300


def test_move():
    instances = [an_instance() for _ in range(5)]
    stored: queue.Queue[str] = queue.Queue()

    def keep(event: evt.Event) -> int:
        stored.put(event.dataset.SOPInstanceUID)
        return 0

    async def move(port: int, destination: str) -> list[Progress]:
        async with connected(port, Proposal(MOVE, (EXPLICIT_LE,)), limits=PATIENT) as association:
            asked = scu.move(association, 1, an_identifier(), PATIENT, destination=destination)
            return [each async for each in asked]

    with archive([(evt.EVT_C_STORE, keep)], CT_IMAGE) as inbox_port:

        def handle(event: evt.Event) -> Iterator[Any]:
            if event.move_destination != "INBOX":
                yield None, None
                return
            yield "127.0.0.1", inbox_port, {"contexts": [build_context(CT_IMAGE, EXPLICIT_LE)]}
            yield from getting(instances)(event)

        with archive([(evt.EVT_C_MOVE, handle)], MOVE) as port:
            answers = play(move(port, "INBOX"))
            unknown = play(move(port, "ELSEWHERE"))

    assert {stored.get(timeout=PATIENCE_S) for _ in instances} == {each.instance for each in instances}
    assert (answers[-1].status, answers[-1].completed) == (0, 5)
    assert [each.remaining for each in answers if each.pending] == [4, 3, 2, 1, 0]
    assert [each.status for each in unknown] == [0xA801]


def test_move_that_is_closed_is_cancelled_and_leaves_the_association_usable():
    def handle(event: evt.Event) -> Iterator[Any]:
        yield "127.0.0.1", inbox_port, {"contexts": [build_context(CT_IMAGE, EXPLICIT_LE)]}
        yield from getting([an_instance() for _ in range(500)])(event)

    async def move(port: int) -> int:
        async with connected(
            port, Proposal(MOVE, BOTH), Proposal(VERIFICATION, BOTH), limits=PATIENT
        ) as association:
            asked = scu.move(association, 1, an_identifier(), PATIENT, destination="INBOX")
            async with contextlib.aclosing(asked):
                async for _ in asked:
                    break
            return await scu.echo(association, 3, timeout_s=PATIENCE_S)

    inbox = archive([(evt.EVT_C_STORE, lambda event: 0)], CT_IMAGE)
    with inbox as inbox_port, archive([(evt.EVT_C_MOVE, handle)], MOVE, VERIFICATION) as port:
        assert play(move(port)) == 0


def test_action_and_event_report():
    told: queue.Queue[tuple[str, int, str]] = queue.Queue()

    def on_action(event: evt.Event) -> tuple[int, None]:
        told.put(("action", event.action_type or 0, event.action_information.TransactionUID))
        return 0, None

    def on_report(event: evt.Event) -> tuple[int, None]:
        told.put(("report", event.event_type or 0, event.event_information.TransactionUID))
        return 0x0110, None

    information = encode_transaction("1.2.3")

    async def both(port: int) -> list[int]:
        proposal = Proposal(PUSH, (EXPLICIT_LE,))
        async with connected(port, proposal, limits=PATIENT) as association:
            acted = await scu.action(association, 1, PUSH_INSTANCE, 1, information, timeout_s=PATIENCE_S)
        async with connected(
            port, Proposal(PUSH, (EXPLICIT_LE,), scu=False, scp=True), limits=PATIENT
        ) as association:
            assert association.contexts[1].we_serve
            reported = await scu.event_report(
                association, 1, PUSH_INSTANCE, 2, information, timeout_s=PATIENCE_S
            )
        return [acted, reported]

    handlers = [(evt.EVT_N_ACTION, on_action), (evt.EVT_N_EVENT_REPORT, on_report)]
    with archive(handlers, PUSH, scu_role=True, scp_role=True) as port:
        assert play(both(port)) == [0, 0x0110]

    assert [told.get(timeout=PATIENCE_S) for _ in range(2)] == [
        ("action", 1, "1.2.3"),
        ("report", 2, "1.2.3"),
    ]


def encode_transaction(uid: str) -> bytes:
    information = Dataset()
    information.TransactionUID = uid
    return encode(information, is_implicit_vr=False, is_little_endian=True) or b""


def test_what_is_not_accepted_is_not_there():
    async def contexts(port: int) -> dict[str, bool]:
        proposals = [Proposal(each, BOTH) for each in (CT_IMAGE, VERIFICATION, FIND)]
        async with connected(port, *proposals, limits=PATIENT) as association:
            return {
                each.abstract: scu.context_for(association, each.abstract) is not None for each in proposals
            }

    with archive([], VERIFICATION) as port:
        assert play(contexts(port)) == {CT_IMAGE: False, VERIFICATION: True, FIND: False}


def test_more_contexts_than_an_association_has_are_refused_before_it_is_asked_for():
    async def call() -> None:
        async with connected(1, *[Proposal(f"1.2.{number}", BOTH) for number in range(129)]):
            pass

    with pytest.raises(ValueError, match="128"):
        play(call())
