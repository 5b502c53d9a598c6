"""What every test may ask for."""

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from starlette.testclient import TestClient

from service.app import create_app
from service.archive.intake import IntakeLimits
from service.archive.objects import ObjectArchive
from service.index.memory import MemoryIndex
from service.index.port import OnDuplicate
from service.settings import Settings
from service.store.memory import MemoryStore
from tests.mended import mend_pynetdicom
from tests.sites import Site

if TYPE_CHECKING:
    from tests.s3_stores import Place, Stage

mend_pynetdicom()

REAL_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real files that nobody here made."""
    if not (REAL_DATA / "MANIFEST.csv").exists():
        pytest.skip("The real files are not beside this checkout (../shared/data).")
    return REAL_DATA


@pytest.fixture(scope="session")
def manifest(real_data) -> list[dict[str, str]]:
    """A row for each real file."""
    with (real_data / "MANIFEST.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="session")
def s3_stage() -> Iterator["Stage"]:
    """A server on which stores that speak S3 appear."""
    from tests.s3_stores import stage

    with stage() as made:
        yield made


@pytest.fixture
def place(s3_stage: "Stage", tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "Place":
    """A store that speaks S3, empty, and the environment that leads there."""
    from tests.s3_stores import aws_environment

    aws_environment(monkeypatch)
    return s3_stage.appear(tmp_path / "s3")


@pytest.fixture
def open_site() -> Iterator[Callable[..., Site]]:
    """Opens sites: `on_duplicate` and any field of the settings may be given."""
    opened: list[Site] = []

    def open_one(*, on_duplicate: OnDuplicate = OnDuplicate.REFUSE, **fields: int | float | str) -> Site:
        settings = Settings(**fields)  # type: ignore[arg-type]
        store = MemoryStore()
        limits = IntakeLimits(
            settings.header_limit,
            settings.batch_instances,
            settings.batch_bytes,
            largest_bytes=settings.max_instance,
        )
        archive = ObjectArchive(store, MemoryIndex(), limits=limits, on_duplicate=on_duplicate)
        client = TestClient(create_app(archive, settings), raise_server_exceptions=False)
        client.__enter__()
        opened.append(Site(archive, store, client))
        return opened[-1]

    yield open_one
    for site in opened:
        site.client.__exit__(None, None, None)
        site.archive.close()


@pytest.fixture
def site(open_site: Callable[..., Site]) -> Site:
    return open_site()
