"""Archives that lose their index, and everything that they answer before and after."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from service.app import create_app
from service.archive.intake import IntakeLimits
from service.archive.objects import ObjectArchive
from service.archive.reindexing import Fate
from service.index.memory import MemoryIndex
from service.index.port import FullIndex, OnDuplicate
from service.settings import Settings
from service.store.port import ObjectStore
from tests.sites import ROOT, Site

type Answers = dict[str, tuple[int, bytes]]
_OBJECT = "application/dicom; transfer-syntax=*"
_OCTETS = "application/octet-stream; transfer-syntax=*"


@contextlib.contextmanager
def served(
    store: ObjectStore, index: FullIndex | None = None, on_duplicate: OnDuplicate = OnDuplicate.REFUSE
) -> Iterator[Site]:
    """A site on `store` and `index`, an empty one in memory by default."""
    settings = Settings()
    limits = IntakeLimits(settings.header_limit, settings.batch_instances, settings.batch_bytes)
    archive = ObjectArchive(store, index or MemoryIndex(), limits=limits, on_duplicate=on_duplicate)
    with TestClient(create_app(archive, settings), raise_server_exceptions=False) as client:
        yield Site(archive, store, client)  # type: ignore[arg-type] # any store will do
    archive.close()


def fates(site: Site) -> dict[Fate, int]:
    """What a reindex says, counted."""
    counted: dict[Fate, int] = {}
    for one in site.archive.reindex(threads=2):
        counted[one.fate] = counted.get(one.fate, 0) + 1
    return counted


def wrong(site: Site, *, quick: bool = False) -> list[tuple[str, str]]:
    """What a check finds to be wrong."""
    checked = site.archive.check(threads=2, quick=quick)
    return [(one.subject, said) for one in checked for said in one.wrong]


def answers(site: Site, *, objects: bool = True) -> Answers:
    """Searches at all levels, the metadata of every study, and every instance with its frames."""
    told: Answers = {}

    def ask(path: str, accept: str | None = None) -> Any:
        response = site.get(path, accept)
        told[f"{path} {accept or ''}"] = response.status_code, response.content
        return response

    for level in ("studies", "series"):
        ask(f"/{level}?includefield=all&limit=5000")
    instances = ask("/instances?limit=5000").json() if _any(site) else []
    for study in sorted({one["0020000D"]["Value"][0] for one in instances}):
        ask(f"/studies/{study}/metadata")
        ask(f"/studies/{study}/instances?includefield=all&limit=5000")
    for one in instances:
        path = str(one["00081190"]["Value"][0]).removeprefix(ROOT)
        ask(f"{path}/findings")
        if objects:
            ask(path, _OBJECT)
            frames = int(str(one.get("00280008", {}).get("Value", [1])[0]))
            ask(f"{path}/frames/{','.join(map(str, range(1, min(frames, 5) + 1)))}", _OCTETS)
            ask(f"{path}/frames/{frames}", _OCTETS)
    return told


def without_boundaries(told: Answers) -> Answers:
    """Answers without what is drawn by lot for each multipart."""
    return {path: (status, _plain(body)) for path, (status, body) in told.items()}


def differing(before: Answers, after: Answers) -> list[str]:
    """What is not answered as before."""
    return sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))


def _plain(body: bytes) -> bytes:
    if not body.startswith(b"--"):
        return body
    boundary = body[2 : body.index(b"\r\n")]
    return body.replace(boundary, b"")


def _any(site: Site) -> bool:
    return site.get("/instances?limit=1").status_code == 200


def files_of(folder: Path) -> list[Path]:
    """Every file below `folder`."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def interfere(site: Site, event: Callable[[str], object], *, time: int = 1) -> None:
    """Let `event` happen right before an object is opened for the `time`th time."""
    archive: Any = site.archive
    archive._store = _Interfering(archive._store, event, time)


@dataclass
class _Interfering:
    store: Any
    event: Callable[[str], object]
    time: int

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    def opening(self, key: str, length: int) -> Any:
        self.time -= 1
        if self.time == 0:
            self.event(key)
        return self.store.opening(key, length)
