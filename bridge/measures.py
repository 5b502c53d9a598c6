"""What the bridge counts: associations, operations by status, their times, and bytes.

Labels come from tables: no peer and no archive can make another one.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator

from bridge import statuses
from bridge.upper.association import Association
from bridge.upper.command import Operation
from service.exposition import Family, Sample, exposed, histogram

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
OTHER = "OTHER"
# How an association may have ended, in the words of the log or their beginning.
RESULTS = (
    *("released", "lost", "closed", "drained", "cut off", "failed", "aborted by peer", "aborted", "rejected"),
    *("idle", "too slow", "no request in time", "peer does not read"),
)

_STATUSES = frozenset(
    value for name, value in vars(statuses).items() if name.isupper() and isinstance(value, int)
)


class Measures:
    """The numbers of one bridge; counted on its loop, told in any thread."""

    def __init__(self) -> None:
        self._open = 0
        self._ended: Counter[str] = Counter()
        self._answers: Counter[tuple[str, str]] = Counter()
        self._times: dict[str, list[float]] = {}
        self._bytes: Counter[str] = Counter()
        self._objects = 0
        self._told: dict[Association, tuple[int, int, int]] = {}

    def established(self, association: Association) -> None:
        """An association was accepted."""
        self._open += 1
        self._told[association] = (0, 0, 0)

    def served(self, association: Association, field: int, status: int, duration_s: float) -> None:
        """A request with this Command Field has got its final status."""
        operation = operation_name(field)
        self._answers[operation, status_name(status)] += 1
        times = self._times.setdefault(operation, [0.0] * (len(SECONDS) + 2))
        times[bisect_left(SECONDS, duration_s)] += 1
        times[-1] += duration_s
        self._look(association)

    def ended(self, association: Association) -> None:
        """A connection is over, whether an association came of it or not."""
        self._ended[result_name(association.result)] += 1
        if association in self._told:
            self._look(association)
            del self._told[association]
            self._open -= 1

    def text(self) -> bytes:
        """The numbers as Prometheus reads them."""
        return exposed(self._families())

    def _look(self, association: Association) -> None:
        """Count what an association has carried since it was looked at last."""
        now = association.received_bytes, association.sent_bytes, association.objects
        before = self._told.get(association, (0, 0, 0))
        self._told[association] = now
        self._bytes["in"] += now[0] - before[0]
        self._bytes["out"] += now[1] - before[1]
        self._objects += now[2] - before[2]

    def _families(self) -> Iterator[Family]:
        yield Family(
            "isthmus_dimse_associations_open", "gauge", "Associations that peers have.", [Sample(self._open)]
        )
        yield Family(
            "isthmus_dimse_associations_ended_total",
            "counter",
            "Connections of peers that are over, by how they ended.",
            [Sample(count, {"result": name}) for name, count in sorted(self._ended.copy().items())],
        )
        yield Family(
            "isthmus_dimse_operations_total",
            "counter",
            "Requests of peers, by operation and final status.",
            [
                Sample(count, {"operation": operation, "status": status})
                for (operation, status), count in sorted(self._answers.copy().items())
            ],
        )
        times = [
            sample
            for operation, counts in sorted(self._times.copy().items())
            for sample in histogram({"operation": operation}, SECONDS, counts[:-1], counts[-1])
        ]
        yield Family(
            "isthmus_dimse_operation_seconds", "histogram", "From a request to its final status.", times
        )
        yield Family(
            "isthmus_dimse_received_bytes_total",
            "counter",
            "Bytes of data sets from peers.",
            [Sample(self._bytes["in"])],
        )
        yield Family(
            "isthmus_dimse_sent_bytes_total", "counter", "Bytes to peers.", [Sample(self._bytes["out"])]
        )
        yield Family(
            "isthmus_dimse_objects_total", "counter", "Instances that were taken.", [Sample(self._objects)]
        )


def operation_name(field: int) -> str:
    """An operation as the standard writes it, `C-STORE`."""
    return Operation(field).name.replace("_", "-") if field in Operation else OTHER


def status_name(status: int) -> str:
    """A status in hexadecimal; of those that only others have, its first digit (PS3.7 annex C)."""
    return f"{status:04X}" if status in _STATUSES else f"{status >> 12:X}xxx"


def result_name(result: str) -> str:
    """How an association ended, without what is particular to it."""
    return next((name for name in RESULTS if result.startswith(name)), "other")
