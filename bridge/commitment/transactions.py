"""One transaction of storage commitment: asked for, decided, reported (PS3.4 J.3)."""

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bridge import statuses
from bridge.commitment.holdings import Classes
from bridge.commitment.references import CommitmentRequest, Reference, write_report
from bridge.peers import Peer, Peers
from bridge.upper.association import Association
from service.dicom.resource import is_uid

_FORMAT = 1
_ALL_COMMITTED, _FAILURES_EXIST = 1, 2  # event types (PS3.4 Table J.3-2)


@dataclass(eq=False, slots=True)
class Transaction:
    """A request that was taken, and what has become of it.

    `calling`, `host` and `certificate` say who asked, `called` by which title; `received_at` is in seconds of
    the epoch, `name` is that of its record.
    `association` is where the report is due first. `failures` holds a Failure Reason by position, and is
    `None` until the outcome is known.
    """

    request: CommitmentRequest
    calling: str
    called: str
    host: str
    received_at: float
    certificate: str = ""
    name: str = ""
    association: Association | None = None
    failures: Mapping[int, int] | None = None
    delivered: bool = False
    free: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while no association is to be waited for."""
    reporting: asyncio.Lock = field(default_factory=asyncio.Lock)

    def caller(self, peers: Peers) -> Peer | None:
        """The peer that asked, `None` if it is not known."""
        return peers.caller(self.calling, self.host, self.certificate)

    def owner(self, peers: Peers) -> str:
        """Whose transactions are counted together, and have one Transaction UID once."""
        peer = self.caller(peers)
        return f"peer {peer.name}" if peer is not None else f"{self.calling} {self.host}"

    def named(self, peers: Peers) -> str:
        """The name for its record: that of no other open transaction, and always the same."""
        key = f"{self.owner(peers)} {self.request.transaction}"
        return hashlib.sha256(key.encode()).hexdigest()[:32]

    def record(self) -> dict[str, Any]:
        """What is kept of it on disk; the outcome is found again."""
        return {
            "format": _FORMAT,
            "transaction": self.request.transaction,
            "references": [[each.sop_class, each.instance] for each in self.request.references],
            "calling": self.calling,
            "called": self.called,
            "host": self.host,
            "received_at": self.received_at,
            **({"certificate": self.certificate} if self.certificate else {}),
        }

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> "Transaction":
        """The transaction of a record; `ValueError` if it is none."""
        try:
            references = tuple(Reference(str(a), str(b)) for a, b in record["references"])
            transaction = cls(
                CommitmentRequest(str(record["transaction"]), references),
                str(record["calling"]),
                str(record["called"]),
                str(record["host"]),
                float(record["received_at"]),
                str(record.get("certificate", "")),
            )
        except (KeyError, TypeError, ValueError) as cause:
            raise ValueError("no record of a transaction") from cause
        uids = {uid for each in references for uid in (each.sop_class, each.instance)}
        titles = (transaction.calling, transaction.called)
        if record.get("format") != _FORMAT or not all(map(is_uid, {transaction.request.transaction, *uids})):
            raise ValueError("no record of a transaction")
        if not all(title.isascii() and 0 < len(title) <= 16 for title in titles):
            raise ValueError("no record of a transaction")
        return transaction

    def decide(self, held: Classes) -> None:
        """Take what the archive holds as the outcome (PS3.3 C.14.1.1)."""
        failures: dict[int, int] = {}
        for position, each in enumerate(self.request.references):
            classes = held.get(each.instance)
            if not classes:
                failures[position] = statuses.NO_SUCH_INSTANCE
            elif each.sop_class not in classes and "" not in classes:
                failures[position] = statuses.CLASS_CONFLICT
        self.failures = failures

    def fail(self) -> None:
        """Take as the outcome that nothing can be said."""
        reason = statuses.PROCESSING_FAILURE
        self.failures = dict.fromkeys(range(len(self.request.references)), reason)

    def report(self, *, retrieve_ae_title: str, explicit: bool) -> tuple[int, bytes]:
        """Event type and information, once it is decided."""
        failures = self.failures or {}
        references = self.request.references
        committed = [each for position, each in enumerate(references) if position not in failures]
        information = write_report(
            self.request.transaction,
            committed,
            [(references[position], reason) for position, reason in failures.items()],
            retrieve_ae_title=retrieve_ae_title,
            explicit=explicit,
        )
        return (_FAILURES_EXIST if failures else _ALL_COMMITTED), information
