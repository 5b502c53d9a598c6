"""The page in a browser, before the real service."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx2 as httpx
import pytest

from tests.browsing import Browser, Tab
from tests.e2e.conftest import Program

PATIENCE_S = 30.0


@dataclass
class Page:
    """The service, a browser, and the tabs that a test opened."""

    program: Program
    browser: Browser
    tabs: list[Tab] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.program.port}/"

    def open(self, place: str = "", *, width: int = 1280, height: int = 800) -> Tab:
        """A tab that shows a place of the page."""
        self.tabs.append(self.browser.open(self.address + place, width=width, height=height))
        return self.tabs[-1]

    def store(self, *files: bytes) -> list[str]:
        """Store files; where they lie below the DICOMweb root."""
        return [self._store(file) for file in files]

    def _store(self, file: bytes) -> str:
        response = httpx.post(
            f"{self.program.root}/studies",
            content=file,
            headers={"Content-Type": "application/dicom"},
            timeout=PATIENCE_S,
        )
        assert response.status_code in (200, 202), response.text
        url: str = response.json()["00081199"]["Value"][0]["00081190"]["Value"][0]
        return url.removeprefix(self.program.root)

    def store_together(self, files: Sequence[bytes]) -> None:
        """Store many files with one request."""
        head = b"--bnd\r\nContent-Type: application/dicom\r\n\r\n"
        response = httpx.post(
            f"{self.program.root}/studies",
            content=b"".join(head + file + b"\r\n" for file in files) + b"--bnd--",
            headers={"Content-Type": 'multipart/related; type="application/dicom"; boundary=bnd'},
            timeout=PATIENCE_S,
        )
        assert response.status_code == 200, response.text

    def get(self, path: str) -> httpx.Response:
        """What lies at a path below the DICOMweb root."""
        return httpx.get(self.program.root + path, timeout=PATIENCE_S)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with Browser.start() as running:
        yield running


def serving(folder: Path, **settings: str) -> Iterator[Program]:
    """The service alone, in one process."""
    program = Program(folder, "serve", ISTHMUS_WORKERS="1", **settings)
    try:
        yield program.wait_ready()
    finally:
        program.close()


@pytest.fixture(scope="module")
def program(browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    yield from serving(tmp_path_factory.mktemp("page"), ISTHMUS_ON_DUPLICATE="replace")


@pytest.fixture
def page(browser: Browser, program: Program) -> Iterator[Page]:
    """The page; what it complained of fails the test."""
    shown = Page(program, browser)
    yield shown
    complaints = [text for tab in shown.tabs for text in tab.complaints]
    requests = [url for tab in shown.tabs for url in tab.requests]
    for tab in shown.tabs:
        tab.close()
    assert complaints == []
    assert [url for url in requests if not url.startswith((shown.address, "data:", "about:"))] == []


@pytest.fixture
def start_page(browser: Browser, tmp_path: Path) -> Iterator[Callable[..., Page]]:
    """Starts a service of its own, with these settings, for a page."""
    running: list[Iterator[Program]] = []
    shown: list[Page] = []

    def begin(**settings: str) -> Page:
        running.append(serving(tmp_path, **settings))
        shown.append(Page(next(running[-1]), browser))
        return shown[-1]

    yield begin
    for one in shown:
        for tab in one.tabs:
            tab.close()
    for program in running:
        for _ in program:
            pass
