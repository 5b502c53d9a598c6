"""The trail: events wait in a bounded queue for the one thread that writes them."""

import logging
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from service.audit.event import Event
from service.audit.sinks import Sink

log = logging.getLogger("isthmus.audit")

LIMIT = 10_000
_AGAIN_S = (0.1, 5.0)  # after a failure, at first and at most
_MOST_AT_ONCE = 500
_MOST_JOINED = 1_000  # kinds of events that wait for others of theirs
_LAST_WORDS_S = 1.0

type PatientOf = Callable[[str], str | None]
"""The Patient ID of a study by its UID; may raise."""


@dataclass(frozen=True, slots=True)
class Load:
    """How a trail is: events that wait, that were written, that found no room; a sink that fails."""

    waiting: int
    written: int
    refused: int
    failing: bool


class Trail:
    """Takes events from any thread, and has them written in another one.

    Who is about to do something that leaves an event reserves a place for it first, and does not do it
    where there is none: nothing is done that could not be told. A sink that fails is tried again until it
    takes the event.
    """

    def __init__(
        self,
        sink: Sink,
        *,
        limit: int = LIMIT,
        join_s: float = 0.0,
        patients: bool = True,
        patient_of: PatientOf | None = None,
    ) -> None:
        """Of events that are alike within `join_s` the first is written at once, the others become one.

        Without `patients` no Patient ID is told; `patient_of` finds those that are not known yet.
        """
        self.patients = patients
        self._sink = sink
        self._limit = limit
        self._join_s = join_s
        self._patient_of = patient_of
        self._events: deque[Event] = deque()
        self._reserved = 0
        self._unwritten = 0  # taken from the queue, by the thread
        self._written = 0
        self._refused = 0
        self._failing = False
        self._closing = False
        self._open: OrderedDict[tuple[object, ...], tuple[float, Event | None]] = OrderedDict()
        self._patients = _Patients()
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="audit", daemon=True)
        self._thread.start()

    def reserve(self) -> bool:
        """Keep a place for one event; false if there is none."""
        with self._changed:
            free = self._reserved + len(self._events) + self._unwritten < self._limit
            if free and not self._closing:
                self._reserved += 1
                return True
            self._refused += 1
            return False

    def release(self) -> None:
        """There is nothing to be told after all."""
        with self._changed:
            self._reserved -= 1

    def put(self, event: Event) -> None:
        """Take an event in the place that was reserved for it."""
        with self._changed:
            self._reserved -= 1
            self._events.append(event)
            self._changed.notify()

    def add(self, event: Event) -> None:
        """Take an event for which no place was reserved, of what nobody can be kept from doing.

        There is room for as many of these as for the others; beyond that they are counted as refused.
        """
        with self._changed:
            if len(self._events) >= 2 * self._limit:
                self._refused += 1
                return
            self._events.append(event)
            self._changed.notify()

    @property
    def load(self) -> Load:
        """How the trail is at the moment."""
        with self._changed:
            waiting = len(self._events) + self._unwritten
            return Load(waiting, self._written, self._refused, self._failing)

    def close(self, timeout_s: float = _LAST_WORDS_S) -> None:
        """Write what is left, as far as the sink takes it within `timeout_s`."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(timeout_s)
        left = self.load.waiting
        if left:
            log.error("audit events=%d could not be written before the end", left)
        if not self._thread.is_alive():
            self._sink.close()

    # In the thread.

    def _work(self) -> None:
        while True:
            taken, closing = self._take()
            if taken is None:
                return
            due = self._due(map(self._told, taken), all_of_them=closing)
            self._write(due)

    def _take(self) -> tuple[list[Event] | None, bool]:
        """The next events, none when joined ones are due, `None` at the end; and whether it is near."""
        with self._changed:
            while not self._events and not self._closing and self._pause_s() != 0:
                self._changed.wait(self._pause_s())
            if self._closing and not self._events and not self._open:
                return None, True
            taken = [self._events.popleft() for _ in range(min(len(self._events), _MOST_AT_ONCE))]
            self._unwritten += len(taken)
            return taken, self._closing and not self._events

    def _pause_s(self) -> float | None:
        """Until the first joined event is due; `None` without one."""
        if not self._open:
            return None
        (due, _) = next(iter(self._open.values()))
        return max(due - time.monotonic(), 0.0)

    def _told(self, event: Event) -> Event:
        """`event` with the patients of its studies, where they are to be told and are not yet."""
        if not self.patients:
            return replace(event, patients=()) if event.patients else event
        if event.patients or not event.studies or not event.lookup or self._patient_of is None:
            return event
        found = [self._patients.of(study, self._patient_of) for study in event.studies]
        return replace(event, patients=tuple(dict.fromkeys(one for one in found if one)))

    def _due(self, events: "map[Event]", *, all_of_them: bool) -> list[Event]:
        """Which events are to be written at once; those like one before wait for more of their kind.

        So a program that is killed leaves nobody unnamed: what is lost then is how often.
        """
        due: list[Event] = []
        for event in events:
            if not (event.joins and self._join_s):
                due.append(event)
                continue
            key = event.likeness
            if key not in self._open:
                self._open[key] = (time.monotonic() + self._join_s, None)
                due.append(event)
                continue
            until, before = self._open[key]
            self._open[key] = (until, event if before is None else before.joined(event))
            if before is not None:
                with self._changed:
                    self._unwritten -= 1
        while self._open:
            until, _ = next(iter(self._open.values()))
            if not (all_of_them or until <= time.monotonic() or len(self._open) > _MOST_JOINED):
                break
            _, (_, joined) = self._open.popitem(last=False)
            due += [] if joined is None else [joined]
        return due

    def _write(self, events: Sequence[Event]) -> None:
        pause_s, most_s = _AGAIN_S
        while events:
            try:
                self._sink.write(events)
            except OSError as error:
                self._tell(failing=True, why=error)
                with self._changed:
                    if self._closing:
                        return
                    self._changed.wait_for(lambda: self._closing, pause_s)  # whatever comes meanwhile
                pause_s = min(2 * pause_s, most_s)
                continue
            except Exception:
                if len(events) > 1:  # the others must not wait for the one that cannot be said
                    for event in events:
                        self._write([event])
                    return
                log.exception("audit event of kind=%s could not be written", events[0].what.meaning)
            self._tell(failing=False)
            with self._changed:
                self._unwritten -= len(events)
                self._written += len(events)
            return

    def _tell(self, *, failing: bool, why: OSError | None = None) -> None:
        if failing == self._failing:
            return
        self._failing = failing
        if failing:
            log.error("audit sink=failing error=%s events wait for it (ISTHMUS_AUDIT)", type(why).__name__)
        else:
            log.warning("audit sink=well again")


class _Patients:
    """Patient IDs by study, remembered for a minute; used by one thread."""

    _MOST = 10_000
    _FRESH_S = 60.0

    def __init__(self) -> None:
        self._known: OrderedDict[str, tuple[float, str]] = OrderedDict()

    def of(self, study: str, look: PatientOf) -> str:
        at = time.monotonic()
        found = self._known.get(study)
        if found is not None and at - found[0] < self._FRESH_S:
            return found[1]
        try:
            patient = look(study) or ""
        except Exception as error:  # the event matters more than what would make it complete
            log.warning("audit patient of study=%s not found: %s", study, type(error).__name__)
            return ""
        if patient:
            self._known[study] = (at, patient)
            self._known.move_to_end(study)
            if len(self._known) > self._MOST:
                self._known.popitem(last=False)
        return patient
