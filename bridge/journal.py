"""The log: one line per association at its end, of names and numbers, never of patients."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from bridge.upper.association import Association
from bridge.upper.command import Operation

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
    answers: Mapping[tuple[int, int], int] = field(default_factory=dict)
    """How often each Command Field (0: of no service) was answered with each final status."""
    protocol: str = ""
    """The version of TLS, empty in clear."""

    @classmethod
    def of(
        cls,
        association: Association,
        duration_s: float,
        answers: Mapping[tuple[int, int], int],
    ) -> "AssociationReport":
        return cls(
            association.peer[0],
            association.calling,
            association.called,
            len(association.contexts),
            association.objects,
            association.received_bytes,
            duration_s,
            association.result,
            answers,
            association.protocol,
        )

    def log(self) -> None:
        """Write the line; a mere echo or a bare connection, which some peers make each second, as debug."""
        failed = any(status for _, status in self.answers)
        quiet = self.size_bytes == 0 and self.result in ("released", "lost", "drained") and not failed
        log.log(
            logging.DEBUG if quiet else logging.INFO,
            "association peer=%s%s calling=%s called=%s contexts=%d objects=%d bytes=%d answers=%s "
            "seconds=%.3f result=%s",
            self.peer,
            f" tls={self.protocol}" if self.protocol else "",
            _value(self.calling),
            _value(self.called),
            self.contexts,
            self.objects,
            self.size_bytes,
            _tally(self.answers),
            self.duration_s,
            _value(self.result),
        )


def _tally(answers: Mapping[tuple[int, int], int]) -> str:
    """Operation, status and count: `C-STORE/0000:12,C-FIND/A700:1`."""
    return ",".join(
        f"{_operation(operation)}/{status:04X}:{count}"
        for (operation, status), count in sorted(answers.items())
    )


def _operation(code: int) -> str:
    return Operation(code).name.replace("_", "-") if code else "OTHER"


def _value(text: str) -> str:
    """`text` as a value of key=value: quoted where it would fall apart."""
    if text and not set(text) & set(' "='):
        return text
    return '"' + text.replace('"', "'") + '"'
