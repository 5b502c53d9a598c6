"""Audit events as messages: the XML of PS3.15 A.5.1, and the same as a line of JSON.

Both are written from one tree, so that neither can say what the other does not.
"""

import base64
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import orjson

from service.audit import codes
from service.audit.codes import Code
from service.audit.event import Counts, Event, Participant

# What XML 1.0 cannot hold at all, control characters and halves of surrogate pairs, becomes U+FFFD.
_UNFIT = {
    code: "\ufffd"
    for code in (*range(0x20), 0x7F, *range(0xD800, 0xE000), 0xFFFE, 0xFFFF)
    if code not in (9, 10, 13)
}
_LONGEST = 256  # characters of what comes from outside
_LONGEST_ENCODED = 4096
_REPEATED = frozenset(
    ("ActiveParticipant", "RoleIDCode", "EventTypeCode", "ParticipantObjectIdentification", "SOPClass")
    + ("ParticipantObjectDetail", "ParticipantObjectDescription", "AuditSourceTypeCode")
)
_NUMBERS = frozenset(("EventOutcomeIndicator", "NumberOfInstances"))
_FLAGS = frozenset(("UserIsRequestor",))


class Encoded(str):
    """Text that XML holds in base64 (PS3.15 A.5.1, ValuePair)."""


@dataclass(frozen=True, slots=True)
class _Node:
    name: str
    attributes: dict[str, str] = field(default_factory=dict)
    children: list["_Node"] = field(default_factory=list)
    text: str | None = None


def as_xml(event: Event, source: str) -> bytes:
    """The audit message in UTF-8, without an XML declaration. `source` names who reports it."""
    return "".join(_xml(_message(event, source))).encode()


def as_json(event: Event, source: str) -> bytes:
    """The same as one line of JSON, its end included: attributes and elements become members.

    What may stand there more than once is always an array; what XML has in base64 is plain text.
    """
    return orjson.dumps(_json(_message(event, source))) + b"\n"


def _message(event: Event, source: str) -> _Node:
    return _Node(
        "AuditMessage",
        children=[
            _event(event),
            *map(_participant, event.participants),
            _Node(
                "AuditSourceIdentification",
                {"AuditSourceID": source},
                [_Node("AuditSourceTypeCode", {"csd-code": codes.APPLICATION_SERVER})],
            ),
            *_objects(event),
        ],
    )


def _event(event: Event) -> _Node:
    told = [_Node("EventOutcomeDescription", text=event.outcome_text)] if event.outcome_text else []
    attributes = {
        "EventActionCode": event.action,
        "EventDateTime": datetime.fromtimestamp(event.at, UTC).isoformat(timespec="milliseconds"),
        "EventOutcomeIndicator": str(event.outcome),
    }
    types = [_coded("EventTypeCode", code) for code in event.types]
    return _Node("EventIdentification", attributes, [_coded("EventID", event.what), *types, *told])


def _participant(one: Participant) -> _Node:
    attributes = {"UserID": one.user}
    if one.alternative:
        attributes["AlternativeUserID"] = one.alternative
    attributes["UserIsRequestor"] = "true" if one.requestor else "false"
    if one.address:
        attributes["NetworkAccessPointID"] = one.address
        attributes["NetworkAccessPointTypeCode"] = "2" if _is_ip(one.address) else "1"
    return _Node("ActiveParticipant", attributes, [_coded("RoleIDCode", code) for code in one.roles])


def _is_ip(address: str) -> bool:
    return ":" in address or address.replace(".", "").isdigit()


def _objects(event: Event) -> Iterator[_Node]:
    """What the event is about; the details go with the first of them."""
    details = dict(event.details)
    if event.request:
        details["Request"] = event.request
    if event.requests > 1:
        details["Requests"] = str(event.requests)
    told = [
        _Node("ParticipantObjectDetail", {"type": name, "value": Encoded(value)})
        for name, value in details.items()
    ]
    if event.search is not None:
        query = _Node("ParticipantObjectQuery", text=Encoded(event.search.keys))
        kind, identity = codes.SEARCH_CRITERIA, event.place
        if event.search.sop_class:  # PS3.15 A.5.3.10 names the class of the query
            kind, identity = codes.SOP_CLASS_UID, event.search.sop_class
        yield _object(identity, "2", "24" if kind is codes.SEARCH_CRITERIA else "3", kind, query, told)
        told = []
    for study, counts in event.studies.items():
        about = [*told, *_description(counts)]
        yield _object(study, "2", "3", codes.STUDY_UID, None, about)
        told = []
    if told and event.place:
        yield _object(event.place, "2", "13", codes.URI, None, told)
    for patient in event.patients:
        yield _object(patient, "1", "1", codes.PATIENT_NUMBER, None, [])


def _object(identity: str, kind: str, role: str, code: Code, query: _Node | None, more: list[_Node]) -> _Node:
    # The schema wants a name or a query; a name is never told, so it is empty.
    named = query or _Node("ParticipantObjectName", text="")
    return _Node(
        "ParticipantObjectIdentification",
        {
            "ParticipantObjectID": identity,
            "ParticipantObjectTypeCode": kind,
            "ParticipantObjectTypeCodeRole": role,
        },
        [_coded("ParticipantObjectIDTypeCode", code), named, *more],
    )


def _description(counts: Counts) -> list[_Node]:
    if not counts:
        return []
    classes = [
        _Node("SOPClass", {**({"UID": uid} if uid else {}), "NumberOfInstances": str(number)})
        for uid, number in counts.items()
    ]
    return [_Node("ParticipantObjectDescription", children=classes)]


def _coded(name: str, code: Code) -> _Node:
    told = {"csd-code": code.value, "codeSystemName": code.system, "originalText": code.meaning}
    return _Node(name, told)


def _xml(node: _Node) -> Iterator[str]:
    yield f"<{node.name}"
    for name, value in node.attributes.items():
        yield f" {name}={quoteattr(_xml_text(value))}"
    if not node.children and node.text is None:
        yield "/>"
        return
    yield ">"
    if node.text is not None:
        yield escape(_xml_text(node.text))
    for child in node.children:
        yield from _xml(child)
    yield f"</{node.name}>"


def _xml_text(value: str) -> str:
    if isinstance(value, Encoded):
        return base64.b64encode(_shown(value).encode()).decode("ascii")
    return _shown(value)


def _json(node: _Node) -> dict[str, Any]:
    told: dict[str, Any] = {name: _json_value(name, value) for name, value in node.attributes.items()}
    for child in node.children:
        inner = _shown(child.text) if child.text is not None else _json(child)
        if child.name in _REPEATED:
            told.setdefault(child.name, []).append(inner)
        elif inner != "":
            told[child.name] = inner
    return told


def _json_value(name: str, value: str) -> str | int | bool:
    if name in _NUMBERS:
        return int(value)
    return value == "true" if name in _FLAGS else _shown(value)


def _shown(value: str) -> str:
    """`value` as both forms can hold it: no control characters, and not without end."""
    most = _LONGEST_ENCODED if isinstance(value, Encoded) else _LONGEST
    return value[:most].translate(_UNFIT)
