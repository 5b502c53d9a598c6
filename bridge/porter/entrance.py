"""Where objects go into the archive, piece by piece, in the porter."""

import mmap

from bridge.porter.messages import Drop, PatientOf, Piece, Told, Work
from service.archive import reasons
from service.archive.objects import ObjectArchive
from service.archive.port import Intake, Refused, Stored

_LONGEST_ID = 64  # characters of a Patient ID (PS3.5 6.2, LO)


class Entrance:
    """Does what is asked of the porter; every method may be called from any thread.

    The pieces of one object come one after the other, each when the one before it is answered.
    """

    def __init__(self, archive: ObjectArchive, memory: mmap.mmap) -> None:
        self._archive = archive
        self._memory = memoryview(memory)
        self._coming: dict[int, Intake] = {}

    def do(self, work: Work) -> Told | Refused | str | None:
        """What `work` gives. Raises `ArchiveError`, and what else goes wrong."""
        match work:
            case Piece():
                return self._take(work)
            case Drop():
                self._drop(work.number)
                return None
            case PatientOf():
                patient = self._archive.patient_of(work.study)
                return patient and patient[:_LONGEST_ID]

    def close(self) -> None:
        """Let nothing stay of what has not come to its end."""
        for number in list(self._coming):
            self._drop(number)

    def _take(self, piece: Piece) -> Told | Refused | None:
        if piece.is_first:
            intake = self._coming[piece.number] = self._archive.intake()
            intake.begin()
        else:
            intake = self._coming[piece.number]
        block = self._memory[piece.start : piece.start + piece.size]
        # The intake may keep what it is given, and the place is filled anew once this is answered.
        intake.write(block if piece.is_last else memoryview(bytes(block)))
        if not piece.is_last:
            return None
        intake.end()
        outcome = intake.finish()[0]
        del self._coming[piece.number]
        return Told.of(outcome) if isinstance(outcome, Stored) else outcome

    def _drop(self, number: int) -> None:
        intake = self._coming.pop(number, None)
        if intake is not None:
            intake.refuse(reasons.CANNOT_UNDERSTAND, "The instance did not arrive whole.")
            intake.finish()
