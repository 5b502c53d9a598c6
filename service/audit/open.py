"""From settings to a trail, and what a program says of itself at its start and end (PS3.15 A.5.3.1)."""

import contextlib
import os
from collections.abc import Iterator

from service.audit import codes
from service.audit.codes import Code
from service.audit.event import Event, Participant
from service.audit.settings import AuditSettings
from service.audit.sinks import OFF, open_sink
from service.audit.trail import PatientOf, Trail


@contextlib.contextmanager
def trail_of(
    settings: AuditSettings, program: str, *, patient_of: PatientOf | None = None
) -> Iterator[Trail | None]:
    """The trail that `settings` ask for, for the time that `program` runs; `None` where it is off.

    Its first event says that the program has started, and the last one that it ends. `SettingError` if the
    sink cannot be opened.
    """
    if settings.sink == OFF:
        yield None
        return
    trail = Trail(
        open_sink(settings.sink, program),
        join_s=settings.join_s,
        patients=settings.patients,
        patient_of=patient_of,
    )
    trail.add(_activity(program, codes.APPLICATION_START))
    try:
        yield trail
    finally:
        trail.add(_activity(program, codes.APPLICATION_STOP))
        trail.close()


def _activity(program: str, kind: Code) -> Event:
    itself = Participant(program, (codes.APPLICATION,), alternative=str(os.getpid()))
    return Event(codes.APPLICATION_ACTIVITY, codes.EXECUTE, (itself,), types=(kind,))
