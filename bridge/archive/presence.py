"""Whether the archive is there: the smallest search that there is."""

import asyncio
import contextlib

from bridge.archive.remote import RemoteArchive
from service.dicom.errors import ArchiveError

_PAUSE_S = 0.5
_ACCEPT = {"Accept": "application/dicom+json"}


async def status_of(archive: RemoteArchive) -> int:
    """The status of the smallest search. Raises what `RemoteArchive.open` raises."""
    incoming = await archive.open("/studies?limit=1", _ACCEPT)
    incoming.close()
    return incoming.status


async def arrival(archive: RemoteArchive, *, within_s: float) -> None:
    """Return when the archive answers, and after `within_s` at the latest."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            while not await _answers(archive):
                await asyncio.sleep(_PAUSE_S)


async def _answers(archive: RemoteArchive) -> bool:
    try:
        return await status_of(archive) < 500
    except ArchiveError:
        return False
