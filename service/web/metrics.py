"""What the service counts: requests by transaction and status, their times and sizes, and how full it is.

Labels come from tables that are known at the start: no request can make another one.
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from service.exposition import Family, Sample, exposed, histogram
from service.pages import Pages
from service.web.timing import STEPS
from service.web.transactions import BESIDE, CAPABILITIES, DESCRIBED

OTHER = "Other"  # what no route is for
TRANSACTIONS = (
    *dict.fromkeys(one.identity for one in DESCRIBED.values()),
    CAPABILITIES,
    *(name for name in BESIDE.values() if name not in {one.identity for one in DESCRIBED.values()}),
    OTHER,
)
UNANSWERED = 0  # the client had left before there was an answer
STATUSES = (
    *(200, 202, 204, 206, 304, 400, 401, 403, 404, 405, 406, 408, 409, 412, 413, 414, 415, 416, 431, 499),
    *(500, 502, 503, 504, UNANSWERED),
)
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
STEP_SECONDS = (0.001, 0.0025, 0.01, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0)

_PLACE = {name: place for place, name in enumerate(TRANSACTIONS)}
_OTHER = _PLACE[OTHER]
_STEP_PLACE = {name: place for place, name in enumerate(STEPS)}
NO_STEPS: Mapping[str, float] = MappingProxyType({})
_STATUS = {status: place for place, status in enumerate(STATUSES)}
_ODD = len(STATUSES)  # the place of statuses that are not in the table
# A row for each transaction: statuses, two histograms with their sums, bytes in and out, broken answers.
# Then a histogram with its sum for each step.
_HEAD = _ODD + 1
_WHOLE = _HEAD + len(SECONDS) + 2
_IN = _WHOLE + len(SECONDS) + 2
_OUT, _BROKEN, _STEPS = _IN + 1, _IN + 2, _IN + 3
_STEP = len(STEP_SECONDS) + 2
_ROW = _STEPS + len(STEPS) * _STEP


@dataclass(frozen=True, slots=True)
class Scalar:
    """A number of its own. Of a `gauge` the latest counts, and of several processes the sum or the most."""

    family: str
    explained: str
    labels: Mapping[str, str] = field(default_factory=dict)
    kind: str = "gauge"
    most: bool = False


def _queue(name: str) -> Scalar:
    return Scalar("isthmus_queue_inside", "Calls that wait for threads, or have one.", {"queue": name})


def _connections(state: str) -> Scalar:
    return Scalar("isthmus_index_connections", "Connections to the index's database.", {"state": state})


def _cache(kind: str, what: str, name: str) -> Scalar:
    explained = {"hits": "Answers out of a cache.", "misses": "Answers that a cache did not have."}
    if what == "bytes":
        return Scalar("isthmus_cache_bytes", "What a cache holds.", {"cache": name})
    return Scalar(f"isthmus_cache_{what}_total", explained[what], {"cache": name}, kind)


def _ended(reason: str) -> Scalar:
    explained = "Connections that were ended, by what the client did wrong."
    return Scalar("isthmus_http_connections_ended_total", explained, {"reason": reason}, "counter")


def _instances(outcome: str) -> Scalar:
    explained = "Instances of store requests, by what became of them."
    return Scalar("isthmus_store_instances_total", explained, {"outcome": outcome}, "counter")


SCALARS: Mapping[str, Scalar] = {
    "connections": Scalar("isthmus_http_connections", "Connections of clients."),
    "in_flight": Scalar("isthmus_http_requests_in_flight", "Requests whose answer has not ended."),
    "uploads": Scalar("isthmus_store_requests_in_flight", "Store requests whose body is being taken in."),
    "reads": _queue("reads"),
    "stores": _queue("stores"),
    "pixels": _queue("pixels"),
    "jobs_running": Scalar("isthmus_pixel_jobs", "Frames and pictures to be made.", {"state": "running"}),
    "jobs_queued": Scalar("isthmus_pixel_jobs", "Frames and pictures to be made.", {"state": "queued"}),
    "index_lent": _connections("lent"),
    "index_idle": _connections("idle"),
    "pixels_bytes": _cache("gauge", "bytes", "pixels"),
    "metadata_bytes": _cache("gauge", "bytes", "metadata"),
    "pixels_hits": _cache("counter", "hits", "pixels"),
    "metadata_hits": _cache("counter", "hits", "metadata"),
    "pixels_misses": _cache("counter", "misses", "pixels"),
    "metadata_misses": _cache("counter", "misses", "metadata"),
    "stored": _instances("stored"),
    "already": _instances("already"),
    "refused": _instances("refused"),
    "head_late": _ended("head_late"),
    "head_long": _ended("head_long"),
    "not_read": _ended("not_read"),
    "lag": Scalar(
        "isthmus_loop_lag_seconds", "How late event loops are, p99 of 10 seconds, of the latest.", most=True
    ),
    "audit_waiting": Scalar("isthmus_audit_waiting", "Audit events that are not written yet."),
    "audit_failing": Scalar("isthmus_audit_failing", "Processes whose audit events cannot be written."),
    "audit_written": Scalar("isthmus_audit_events_total", "Audit events written.", kind="counter"),
    "audit_refused": Scalar(
        "isthmus_audit_refused_total", "Requests refused since nothing could be told of them.", kind="counter"
    ),
    "resident": Scalar("isthmus_resident_bytes", "Memory of all processes that answer."),
}
_SCALAR = {name: len(TRANSACTIONS) * _ROW + place for place, name in enumerate(SCALARS)}
LENGTH = len(TRANSACTIONS) * _ROW + len(SCALARS)


class Meters:
    """The numbers of this process, in a page beside those of the others; written on the loop only."""

    def __init__(self, pages: Pages | None = None) -> None:
        self._pages = pages or Pages(LENGTH)
        self._own = self._pages.own
        for name, scalar in SCALARS.items():
            if scalar.kind == "gauge":  # of a process whose place this one has taken
                self._own[_SCALAR[name]] = 0.0
        self._before = {name: self._own[_SCALAR[name]] for name in SCALARS}

    def begun(self) -> None:
        """A request has come."""
        self._own[_SCALAR["in_flight"]] += 1

    def ended(
        self,
        transaction: str,
        status: int,
        *,
        received: int,
        sent: int,
        head_s: float | None,
        whole_s: float,
        whole: bool,
        steps: Mapping[str, float] = NO_STEPS,
    ) -> None:
        """A request is over. `head_s` is the time to the head of its answer, `None` if there was none.

        `steps` are the seconds that it took, by what they were spent on (`timing.STEPS`).
        """
        own = self._own
        own[_SCALAR["in_flight"]] -= 1
        row = _PLACE.get(transaction, _OTHER) * _ROW
        own[row + _STATUS.get(status, _ODD)] += 1
        if head_s is not None:
            own[row + _HEAD + bisect_left(SECONDS, head_s)] += 1
            own[row + _WHOLE - 1] += head_s
        own[row + _WHOLE + bisect_left(SECONDS, whole_s)] += 1
        own[row + _IN - 1] += whole_s
        own[row + _IN] += received
        own[row + _OUT] += sent
        if not whole:
            own[row + _BROKEN] += 1
        for name, seconds in tuple(steps.items()):  # threads that work for it may add to them meanwhile
            if name in _STEP_PLACE:
                at = row + _STEPS + _STEP_PLACE[name] * _STEP
                own[at + bisect_left(STEP_SECONDS, seconds)] += 1
                own[at + _STEP - 1] += seconds

    def count(self, name: str, more: int = 1) -> None:
        """So many more of one of `SCALARS`."""
        self._own[_SCALAR[name]] += more

    def put(self, name: str, value: float) -> None:
        """What one of `SCALARS` is, of a counter since this process began."""
        before = self._before[name] if SCALARS[name].kind == "counter" else 0.0
        self._own[_SCALAR[name]] = before + value

    def own_and_least(self, name: str) -> tuple[float, float]:
        """What one of `SCALARS` is here, and where it is least of the other processes, if there are any."""
        place = _SCALAR[name]
        return self._own[place], self._pages.least_elsewhere(place)

    def text(self) -> bytes:
        """The numbers of all processes together, as Prometheus reads them."""
        pages = self._pages.all()
        sums = [sum(numbers) for numbers in zip(*pages, strict=True)]
        return exposed([*_by_transaction(sums), *_scalars(sums, pages), _processes(len(pages))])


def _by_transaction(sums: Sequence[float]) -> Iterator[Family]:
    """Families with a label for the transaction; of what was never asked for nothing is told."""
    rows = {
        name: row
        for place, name in enumerate(TRANSACTIONS)
        if any((row := sums[place * _ROW : (place + 1) * _ROW])[:_HEAD])
    }
    labels = [*map(str, STATUSES[:-1]), "none", "other"]
    requests = [
        Sample(count, {"transaction": name, "status": status})
        for name, row in rows.items()
        for status, count in zip(labels, row, strict=False)
        if count
    ]
    yield Family("isthmus_http_requests_total", "counter", "Requests that are over.", requests)
    times = (("begin", "the head of the answer", _HEAD), ("request", "the end of the answer", _WHOLE))
    for what, until, at in times:
        above = at + len(SECONDS) + 1
        samples = [
            sample
            for name, row in rows.items()
            for sample in histogram({"transaction": name}, SECONDS, row[at:above], row[above])
        ]
        yield Family(f"isthmus_http_{what}_seconds", "histogram", f"From a request to {until}.", samples)
    yield Family(
        "isthmus_http_step_seconds",
        "histogram",
        "What the answer to a request spent on a step.",
        [sample for name, row in rows.items() for sample in _steps(name, row)],
    )
    sizes = (
        ("received_bytes", "Bytes of requests' bodies.", _IN),
        ("sent_bytes", "Bytes of answers' bodies.", _OUT),
        ("broken_answers", "Answers that were broken off.", _BROKEN),
    )
    for what, explained, at in sizes:
        counts = [Sample(row[at], {"transaction": name}) for name, row in rows.items()]
        yield Family(f"isthmus_http_{what}_total", "counter", explained, counts)


def _steps(name: str, row: Sequence[float]) -> Iterator[Sample]:
    """The histograms of a transaction's steps; of one that was never taken nothing is told."""
    for step, place in _STEP_PLACE.items():
        at = _STEPS + place * _STEP
        counts, total = row[at : at + _STEP - 1], row[at + _STEP - 1]
        if any(counts):
            yield from histogram({"transaction": name, "step": step}, STEP_SECONDS, counts, total)


def _scalars(sums: Sequence[float], pages: Sequence[Sequence[float]]) -> Iterator[Family]:
    families: dict[str, list[tuple[Scalar, Sample]]] = {}
    for name, scalar in SCALARS.items():
        at = _SCALAR[name]
        value = max(page[at] for page in pages) if scalar.most else sums[at]
        families.setdefault(scalar.family, []).append((scalar, Sample(value, scalar.labels)))
    for family, members in families.items():
        scalar = members[0][0]
        yield Family(family, scalar.kind, scalar.explained, [sample for _, sample in members])


def _processes(count: int) -> Family:
    return Family("isthmus_http_processes", "gauge", "Processes that answer HTTP.", [Sample(count)])
