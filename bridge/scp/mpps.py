"""N-CREATE, N-SET and N-GET of Modality Performed Procedure Steps (PS3.7 10.1, PS3.4 F.7 and F.8)."""

import asyncio
import logging
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bridge import noting, statuses
from bridge.forwarding.rules import Caller
from bridge.mpps.forwarding import PERFORMED
from bridge.mpps.step import scheduled_of
from bridge.mpps.steps import NoLongerUpdated, PerformedSteps
from bridge.peers import Peer
from bridge.settings import BridgeSettings
from bridge.upper.association import Association
from bridge.upper.command import Command, Operation, Tag, Value
from bridge.upper.messages import AssociationLost, Message
from bridge.upper.negotiation import Offer
from service.dicom import performed, syntaxes
from service.dicom.encoding import data_set
from service.dicom.errors import ArchiveError, ClassUnsupported, TooLarge
from service.dicom.identifier import read_document
from service.dicom.performed import InvalidValue, MissingAttribute, MissingValue
from service.dicom.repertoire import UNICODE, Repertoire, named, repertoire
from service.dicom.resource import is_uid

log = logging.getLogger("isthmus.mpps")

RETRIEVE = "1.2.840.10008.3.1.2.3.4"
CLASS_OF: Mapping[int, str] = {
    Operation.N_CREATE: PERFORMED,
    Operation.N_SET: PERFORMED,
    Operation.N_GET: RETRIEVE,
}

_SYNTAXES = (syntaxes.EXPLICIT_LE, syntaxes.IMPLICIT_LE, syntaxes.EXPLICIT_BE)
_NO_LONGER_UPDATED = 0xA710  # error id (PS3.4 Table F.7.2-2)
_AT_ONCE = 1 << 15  # bytes
_MOST_ELEMENTS = 1 << 16  # three for each image


@dataclass(frozen=True, slots=True)
class _Asked:
    """A message that was read: its attributes, and who sent it."""

    instance: str
    attributes: dict[str, Any]
    charset: Repertoire
    caller: Caller
    strict: bool


@dataclass(frozen=True, slots=True)
class _Answered:
    """What a response says beside its status."""

    status: int
    values: Mapping[Tag, Value] = field(default_factory=dict)
    data: bytes | None = None
    comment: str = ""


class Mpps:
    """Takes what modalities tell of their procedure steps, and tells it again."""

    operations = frozenset(map(int, CLASS_OF))

    def __init__(self, steps: PerformedSteps, settings: BridgeSettings) -> None:
        self._steps = steps
        self._settings = settings

    def offer(self, abstract: str, service_class: str) -> Offer | None:
        return Offer(_choose) if abstract in CLASS_OF.values() else None

    async def serve(self, message: Message, association: Association) -> int:
        try:
            answered = await self._carried_out(message, association)
        except AssociationLost:
            raise
        except ArchiveError as error:
            answered = _Answered(statuses.step_status(error), comment=str(error))
        except Exception as error:
            log.exception("mpps peer=%s unexpected error", association.peer[0])
            answered = _Answered(statuses.step_status(error), comment="unexpected error")
        status, comment, data = answered.status, answered.comment, answered.data
        if comment:
            log.warning('mpps peer=%s status=%04X error="%s"', association.peer[0], status, comment)
        if message.data is not None and not message.data.at_end:
            await message.data.drop()
        command = message.command.answered(status, comment=comment, has_data=bool(data))
        response = Command({**command.values, **answered.values})
        await association.send(message.context.context_id, response, data or None)
        return status

    async def _carried_out(self, message: Message, association: Association) -> _Answered:
        context, command = message.context, message.command
        if CLASS_OF[command.field] != context.abstract or not context.we_serve:
            raise ClassUnsupported("The class has no such operation.")
        if command.field == Operation.N_GET:
            return self._got(message)
        told = command.text(Tag.AFFECTED_SOP_INSTANCE)
        if command.field == Operation.N_CREATE and told and not is_uid(told):
            return _Answered(statuses.INVALID_INSTANCE, comment="Affected SOP Instance UID is no UID.")
        asked = await self._read(message, association)
        take = self._created if command.field == Operation.N_CREATE else self._changed
        try:
            return await take(asked, association.peer[0])
        except MissingAttribute as error:
            listed = {Tag.ATTRIBUTES: _numbers(error.tags)}
            return _Answered(statuses.step_status(error), listed, comment=str(error))
        except (MissingValue, InvalidValue) as error:  # with an Attribute List (PS3.7 C.5, PS3.4 F.7.2.1.3)
            at_fault = {tag: asked.attributes[tag] for tag in error.tags if tag in asked.attributes}
            content = data_set(at_fault, syntaxes.BY_UID[context.syntax], asked.charset)
            return _Answered(statuses.step_status(error), data=content, comment=str(error))

    async def _created(self, asked: _Asked, host: str) -> _Answered:
        _note(asked.attributes)
        performed.check_creation(asked.attributes, strict=asked.strict)
        charset = asked.charset.terms
        await self._steps.create(asked.instance, asked.attributes, asked.caller, host, charset)
        return _Answered(statuses.SUCCESS, {Tag.AFFECTED_SOP_INSTANCE: asked.instance})

    async def _changed(self, asked: _Asked, host: str) -> _Answered:
        _note(self._steps.find(asked.instance).attributes())
        charset = asked.charset.terms
        try:
            settled = await self._steps.change(
                asked.instance, asked.attributes, asked.caller, charset, strict=asked.strict
            )
        except NoLongerUpdated as error:
            listed = {Tag.ERROR_ID: _NO_LONGER_UPDATED}
            return _Answered(statuses.PROCESSING_FAILURE, listed, comment=str(error))
        if not settled:
            return _Answered(statuses.SUCCESS)
        log.info("mpps=%s host=%s not changed=%s", asked.instance, host, ",".join(settled))
        return _Answered(statuses.ATTRIBUTE_LIST_ERROR, {Tag.ATTRIBUTES: _numbers(settled)})

    def _got(self, message: Message) -> _Answered:
        """The attributes that are asked for, all where none are named (PS3.7 10.1.2)."""
        step = self._steps.find(message.command.text(Tag.REQUESTED_SOP_INSTANCE))
        attributes = step.attributes()
        _note(attributes)
        named_tags = [f"{tag:08X}" for tag in message.command.tags(Tag.ATTRIBUTES)]
        absent = [tag for tag in named_tags if tag not in attributes]
        told = {tag: attributes[tag] for tag in named_tags if tag in attributes} if named_tags else attributes
        charset = named(step.charset) or UNICODE
        content = data_set(told, syntaxes.BY_UID[message.context.syntax], charset)
        if not absent:
            return _Answered(statuses.SUCCESS, data=content)
        return _Answered(statuses.OPTIONAL_UNSUPPORTED, {Tag.ATTRIBUTES: _numbers(absent)}, content)

    async def _read(self, message: Message, association: Association) -> _Asked:
        """What the message says; raises what is wrong with it, its data set read to the end."""
        command, data = message.command, message.data
        content = b"" if data is None else await data.whole(self._settings.limits.identifier_bytes)
        if content is None:
            raise TooLarge("The data set is too long.")
        instance = _instance(command)
        peer = self._settings.peers.caller(association.calling, association.peer[0], association.certificate)
        syntax = syntaxes.BY_UID[message.context.syntax]

        def parsed() -> tuple[dict[str, Any], tuple[str, ...]]:
            fallback = (peer.charset if peer is not None else None) or ""
            return read_document(content, syntax, fallback=fallback, most_elements=_MOST_ELEMENTS)

        large = len(content) > _AT_ONCE  # thousands of images take longer than others should wait
        document, numbers = await asyncio.to_thread(parsed) if large else parsed()
        kept = {tag: each for tag, each in document.items() if tag != performed.CHARACTER_SET}
        strict = peer is not None and peer.strict
        return _Asked(instance, kept, repertoire(numbers), _caller(association, peer), strict)


def _note(step: dict[str, Any]) -> None:
    """Let the audit trail be told of whom a step is, and of which studies."""
    noting.note_about(
        (study for study, _, _ in scheduled_of(step)), performed.first(step, performed.PATIENT_ID)
    )


def _choose(proposed: Sequence[str], peer_serves: bool) -> str | None:
    """The transfer syntax of a context: what says most about its data first."""
    return next((uid for uid in _SYNTAXES if uid in proposed), None)


def _instance(command: Command) -> str:
    """The UID of the step; for an N-CREATE that names none, one of ours (PS3.7 10.1.5.1.3)."""
    if command.field == Operation.N_SET:
        return command.text(Tag.REQUESTED_SOP_INSTANCE)
    return command.text(Tag.AFFECTED_SOP_INSTANCE) or f"2.25.{uuid.uuid4().int}"


def _caller(association: Association, peer: Peer | None) -> Caller:
    return Caller(association.calling, association.called, "" if peer is None else peer.name)


def _numbers(tags: Sequence[str]) -> tuple[int, ...]:
    return tuple(int(tag, 16) for tag in tags)
