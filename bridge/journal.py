"""The log: one line per association at its end, of names and numbers, never of patients."""

import logging
from dataclasses import dataclass

from bridge.upper.association import Association

log = logging.getLogger("isthmus.dimse")


@dataclass(frozen=True, slots=True)
class AssociationReport:
    """How one association went."""

    peer: str
    calling: str
    called: str
    contexts: int
    objects: int
    size_bytes: int
    duration_s: float
    result: str

    @classmethod
    def of(cls, association: Association, duration_s: float) -> "AssociationReport":
        return cls(
            association.peer[0],
            association.calling,
            association.called,
            len(association.contexts),
            association.objects,
            association.received_bytes,
            duration_s,
            association.result,
        )

    def log(self) -> None:
        """Write the line; a mere echo or a bare connection, which some peers make each second, as debug."""
        quiet = self.size_bytes == 0 and self.result in ("released", "lost", "drained")
        log.log(
            logging.DEBUG if quiet else logging.INFO,
            "association peer=%s calling=%s called=%s contexts=%d objects=%d bytes=%d seconds=%.3f result=%s",
            self.peer,
            _value(self.calling),
            _value(self.called),
            self.contexts,
            self.objects,
            self.size_bytes,
            self.duration_s,
            _value(self.result),
        )


def _value(text: str) -> str:
    """`text` as a value of key=value: quoted where it would fall apart."""
    if text and not set(text) & set(' "='):
        return text
    return '"' + text.replace('"', "'") + '"'
