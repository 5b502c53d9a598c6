"""Where objects go into the archive, piece by piece, in the porter."""

import mmap

from bridge.porter.messages import Drop, PatientOf, Piece, Work
from service.archive import reasons
from service.archive.intake import ObjectIntake
from service.archive.objects import ObjectArchive
from service.archive.port import Outcome


class Entrance:
    """Does what is asked of the porter; every method may be called from any thread.

    The pieces of one object come one after the other, each when the one before it is answered.
    """

    def __init__(self, archive: ObjectArchive, memory: mmap.mmap) -> None:
        self._archive = archive
        self._memory = memory
        self._coming: dict[int, ObjectIntake] = {}

    def do(self, work: Work) -> Outcome | str | None:
        """What `work` gives. Raises `ArchiveError`, and what else goes wrong."""
        match work:
            case Piece():
                return self._take(work)
            case Drop():
                self._drop(work.number)
                return None
            case PatientOf():
                return self._archive.patient_of(work.study)

    def close(self) -> None:
        """Let nothing stay of what has not come to its end."""
        for number in list(self._coming):
            self._drop(number)

    def _take(self, piece: Piece) -> Outcome | None:
        if piece.is_first:
            intake = self._coming[piece.number] = self._archive.intake()
            intake.begin()
        else:
            intake = self._coming[piece.number]
        # A copy: the intake keeps what it is given, and the place is filled anew.
        block = self._memory[piece.start : piece.start + piece.size]
        intake.write(memoryview(block))
        if not piece.is_last:
            intake.prepare()
            return None
        intake.end()
        outcome = intake.finish()[0]
        del self._coming[piece.number]
        return outcome

    def _drop(self, number: int) -> None:
        intake = self._coming.pop(number, None)
        if intake is not None:
            intake.refuse(reasons.CANNOT_UNDERSTAND, "The instance did not arrive whole.")
            intake.finish()
