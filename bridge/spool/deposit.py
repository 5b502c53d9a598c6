"""Where the bridge leaves what it receives: in an archive reached by HTTP, or in the one beside it."""

import contextlib
from collections.abc import Sequence
from typing import Protocol

from bridge import noting
from bridge.archive.own import OwnArchive
from bridge.archive.remote import Body, RemoteArchive
from bridge.spool import verdict
from bridge.spool.verdict import Verdict
from service.archive.port import Stored
from service.dicom.errors import ArchiveError


class Deposit(Protocol):
    """What instances are given to."""

    async def put(
        self, head: bytes, first: Sequence[bytes], body: Body, *, acknowledged: bool = False
    ) -> Verdict:
        """The word on one Part-10 object: `head`, the blocks of `first`, then what `body` still yields.

        `acknowledged` says that nobody has it any more but us. Raises what `body.read` raises, if that is no
        `ArchiveError`.
        """
        ...


class WebDeposit:
    """An archive that is sent each instance by STOW-RS (PS3.18 10.5)."""

    def __init__(self, archive: RemoteArchive) -> None:
        self._archive = archive

    async def put(
        self, head: bytes, first: Sequence[bytes], body: Body, *, acknowledged: bool = False
    ) -> Verdict:
        try:
            answer = await self._archive.store(head, first, body)
        except ArchiveError as error:
            return verdict.of_error(error)
        return verdict.of_answer(answer, acknowledged=acknowledged)


class OwnDeposit:
    """The archive beside the bridge, into which the bridge enters instances itself."""

    def __init__(self, archive: OwnArchive, *, within_s: float) -> None:
        """`within_s` is how long the disk may take over a piece of an instance."""
        self._archive = archive
        self._within_s = within_s

    async def put(
        self, head: bytes, first: Sequence[bytes], body: Body, *, acknowledged: bool = False
    ) -> Verdict:
        try:
            outcome = await self._archive.store(head, first, body, within_s=self._within_s)
        except ArchiveError as error:
            return verdict.of_trouble(error)
        if isinstance(outcome, Stored) and noting.note_stored(outcome.key.study, outcome.sop_class):
            with contextlib.suppress(ArchiveError):  # it is stored, whoever it is of
                noting.note_patient(
                    await self._archive.patient_of(outcome.key.study, within_s=self._within_s)
                )
        return verdict.of_outcome(outcome)
