"""One performed procedure step as it is kept: what it is, and which messages about it go on to peers."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from service.dicom import performed
from service.dicom.resource import is_uid

_FORMAT = 1
CREATE, SET = "create", "set"


@dataclass(frozen=True, slots=True)
class StepMessage:
    """An N-CREATE or N-SET as it is passed on: `document` holds its attributes in DICOM JSON.

    `charset` is the Specific Character Set that it came in, `at` when, in seconds of the epoch.
    """

    operation: str
    document: bytes
    charset: str
    at: float


@dataclass(frozen=True, slots=True)
class Delivery:
    """How far the messages have got to one peer: `sent` of those kept; `failed` says why it ended there."""

    sent: int = 0
    failed: str = ""


@dataclass(frozen=True, slots=True)
class PerformedStep:
    """A step, immutable: each message about it makes another one.

    `document` holds all its attributes in DICOM JSON, of which `status` is one. `calling`, `called` and
    `host` say who created it;
    `created_at` and `changed_at` are in seconds of the epoch, `deliveries` by the name of the peer.
    """

    instance: str
    status: str
    document: bytes
    calling: str
    called: str
    host: str
    created_at: float
    changed_at: float
    charset: str = ""
    messages: tuple[StepMessage, ...] = ()
    deliveries: Mapping[str, Delivery] = field(default_factory=dict)

    def attributes(self) -> dict[str, Any]:
        """Its attributes, as parsed DICOM JSON."""
        parsed: dict[str, Any] = orjson.loads(self.document)
        return parsed

    @property
    def size_bytes(self) -> int:
        """What it takes, about."""
        return len(self.document) + sum(len(message.document) for message in self.messages)

    def owed(self, peer: str) -> bool:
        """Whether a message waits to be passed on to a peer."""
        delivery = self.deliveries.get(peer)
        return delivery is not None and not delivery.failed and delivery.sent < len(self.messages)

    @property
    def owes(self) -> bool:
        """Whether a message waits to be passed on to anybody."""
        return any(self.owed(peer) for peer in self.deliveries)

    def told(self, message: StepMessage, *, most: int) -> "PerformedStep":
        """The step with one more message to be passed on.

        Beyond `most` that wait, a change is added to the one before: together they say the same.
        """
        if not self.deliveries:
            return self
        last = self.messages[-1] if self.messages else None
        if last is None or len(self.messages) < most or last.operation != SET:
            return replace(self, messages=(*self.messages, message))
        merged = {**orjson.loads(last.document), **orjson.loads(message.document)}
        joined = replace(message, document=orjson.dumps(merged))
        behind = len(self.messages) - 1
        deliveries = {
            peer: replace(each, sent=min(each.sent, behind)) for peer, each in self.deliveries.items()
        }
        return replace(self, messages=(*self.messages[:-1], joined), deliveries=deliveries)

    def delivered(self, peer: str, delivery: Delivery) -> "PerformedStep":
        """The step with another state of one delivery, and without the messages that nobody needs."""
        deliveries = {**self.deliveries, peer: delivery}
        done = min(each.sent for each in deliveries.values())
        kept = {name: replace(each, sent=each.sent - done) for name, each in deliveries.items()}
        return replace(self, messages=self.messages[done:], deliveries=kept)

    def record(self) -> dict[str, Any]:
        """What is kept of it on disk."""
        return {
            "format": _FORMAT,
            "instance": self.instance,
            "calling": self.calling,
            "called": self.called,
            "host": self.host,
            "created_at": self.created_at,
            "changed_at": self.changed_at,
            "charset": self.charset,
            "attributes": orjson.Fragment(self.document),
            "messages": [
                {
                    "operation": each.operation,
                    "charset": each.charset,
                    "at": each.at,
                    "attributes": orjson.Fragment(each.document),
                }
                for each in self.messages
            ],
            "deliveries": {
                name: {"sent": each.sent, "failed": each.failed} for name, each in self.deliveries.items()
            },
        }

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> "PerformedStep":
        """The step of a record; `ValueError` if it is none."""
        try:
            step = cls(
                str(record["instance"]),
                performed.status_of(record["attributes"]),
                orjson.dumps(record["attributes"]),
                str(record["calling"]),
                str(record["called"]),
                str(record["host"]),
                float(record["created_at"]),
                float(record["changed_at"]),
                str(record["charset"]),
                tuple(_message(each) for each in record["messages"]),
                {
                    str(name): Delivery(int(each["sent"]), str(each["failed"]))
                    for name, each in record["deliveries"].items()
                },
            )
        except (AttributeError, KeyError, TypeError, ValueError) as cause:
            raise ValueError("no record of a performed procedure step") from cause
        known = record.get("format") == _FORMAT and is_uid(step.instance)
        if not known or not isinstance(record["attributes"], dict):
            raise ValueError("no record of a performed procedure step")
        if not all(0 <= each.sent <= len(step.messages) for each in step.deliveries.values()):
            raise ValueError("no record of a performed procedure step")
        return step


def _message(record: Mapping[str, Any]) -> StepMessage:
    if record["operation"] not in (CREATE, SET) or not isinstance(record["attributes"], dict):
        raise ValueError("no message about a performed procedure step")
    return StepMessage(
        str(record["operation"]),
        orjson.dumps(record["attributes"]),
        str(record["charset"]),
        float(record["at"]),
    )


def scheduled_of(attributes: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Study Instance UID, Accession Number and Scheduled Procedure Step ID of what is performed."""
    found = performed.items(attributes, performed.SCHEDULED)
    return [
        (
            performed.first(item, performed.STUDY),
            performed.first(item, performed.ACCESSION),
            performed.first(item, performed.STEP_ID),
        )
        for item in found
    ]
