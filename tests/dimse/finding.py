"""A real service behind the bridge, what it holds, and a peer that asks."""

import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx2 as httpx
import uvicorn
from pydicom.dataset import Dataset

from bridge import scu
from bridge.peers import Peer
from bridge.scu import Found, Proposal
from bridge.settings import Limits
from bridge.upper.association import Association
from service.app import create_app
from service.archive.intake import IntakeLimits
from service.archive.objects import ObjectArchive
from service.index.memory import MemoryIndex
from service.index.port import OnDuplicate
from service.settings import Settings
from service.store.memory import MemoryStore
from tests.dimse.dimse_peers import Ground
from tests.identifiers import decoded, encoded

PATIENT_ROOT = "1.2.840.10008.5.1.4.1.2.1.1"
STUDY_ROOT = "1.2.840.10008.5.1.4.1.2.2.1"
PATIENT_STUDY_ONLY = "1.2.840.10008.5.1.4.1.2.3.1"
EXPLICIT_LE = "1.2.840.10008.1.2.1"
PENDING = 0xFF00


class Library:
    """The service over an archive in memory, on a port of its own."""

    def __init__(self, ground: Ground) -> None:
        settings = Settings()
        limits = IntakeLimits(settings.header_limit, settings.batch_instances, settings.batch_bytes)
        archive = ObjectArchive(MemoryStore(), MemoryIndex(), limits=limits, on_duplicate=OnDuplicate.REFUSE)
        listening = socket.create_server(("127.0.0.1", 0))  # who connects early waits in its queue
        config = uvicorn.Config(create_app(archive, settings), log_level="warning", lifespan="on")
        self._server = uvicorn.Server(config)
        self._archive = archive
        self._serving = ground.begin(self._server.serve([listening]))
        self.url = f"http://127.0.0.1:{listening.getsockname()[1]}/dicom-web"

    def post_parts(self, *parts: bytes) -> httpx.Response:
        """STOW-RS of these files."""
        head = b"--bnd\r\nContent-Type: application/dicom\r\n\r\n"
        return httpx.post(
            f"{self.url}/studies",
            content=b"".join(head + part + b"\r\n" for part in parts) + b"--bnd--",
            headers={"Content-Type": 'multipart/related; type="application/dicom"; boundary=bnd'},
            timeout=30,
        )

    def close(self) -> None:
        self._server.should_exit = True
        self._serving.result(20)
        self._archive.close()


@dataclass(frozen=True)
class Answers:
    """What came of a query: pending answers, their statuses, and the final response."""

    matches: list[Dataset]
    pending: list[int]
    final: Found


class Asker:
    """A peer that asks over one association, on our upper layer."""

    def __init__(
        self, ground: Ground, port: int, *, calling: str = "ASKER", syntax: str = EXPLICIT_LE
    ) -> None:
        self._ground = ground
        self._port = port
        self._calling = calling
        self._syntax = syntax

    def find(self, query: Dataset, root: str = STUDY_ROOT, extended: bytes = b"") -> Answers:
        return self.find_bytes(encoded(query, self._syntax), root, extended)

    def find_bytes(self, content: bytes, root: str = STUDY_ROOT, extended: bytes = b"") -> Answers:
        found = self._ground.run(self._find(content, root, extended))
        pending = [one for one in found if one.pending]
        matches = [decoded(one.identifier, self._syntax) for one in pending]
        return Answers(matches, [one.status for one in pending], found[-1])

    async def _find(self, content: bytes, root: str, extended: bytes) -> list[Found]:
        async with self.association(root, extended) as association:
            context = scu.context_for(association, root)
            assert context is not None
            assert context.syntax == self._syntax
            return [one async for one in scu.find(association, context.context_id, content, Limits())]

    @contextlib.asynccontextmanager
    async def association(self, root: str, extended: bytes = b"") -> AsyncIterator[Association]:
        peer = Peer("bridge", "ISTHMUS", "127.0.0.1", self._port)
        proposal = Proposal(root, (self._syntax,), extended=extended)
        association = await scu.connect(peer, [proposal], Limits(), calling=self._calling)
        try:
            yield association
        finally:
            await association.release()


def found(answers: Answers, keyword: str) -> list[str]:
    """One attribute of every match, of a query that went well."""
    assert answers.final.status == 0, answers.final
    return [str(match[keyword].value) for match in answers.matches]
