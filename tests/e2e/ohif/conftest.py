"""OHIF as it is published, served by Isthmus and run in a browser of which nothing is emulated."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browsing import SOFTWARE_WEBGL, Browser, chromium
from tests.e2e.conftest import Program
from tests.e2e.ohif.viewing import Viewer
from tests.packages import ohif, or_skip


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the unpacked package."""
    chromium()
    with or_skip():
        return ohif(tmp_path_factory.mktemp("ohif"))


@pytest.fixture(scope="session")
def viewer(build: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Viewer]:
    """OHIF in a browser, before a service of its own."""
    program = Program(
        tmp_path_factory.mktemp("viewed"), "serve", ISTHMUS_WORKERS="1", ISTHMUS_OHIF=str(build)
    )
    try:
        program.wait_ready()
        with Browser.start(*SOFTWARE_WEBGL) as browser:
            yield Viewer(program, browser)
    finally:
        program.close()
