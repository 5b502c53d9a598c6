"""The page in a browser, before the real service."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx2 as httpx
import pytest

from tests.browsing import Browser, Tab
from tests.e2e.conftest import Program

PATIENCE_S = 120.0
# Requests wait in the page as they would on a slow line; those that were aborted meanwhile fail as ever.
_HOLD = """
(() => {
  const [send, held] = [fetch, []];
  window.held = held;
  window.release = () => held.splice(0).forEach((go) => go());
  window.fetch = (url, options) =>
    new RegExp(PATTERN).test(url)
      ? new Promise((done) => held.push(() => done(send(url, options))))
      : send(url, options);
})();
"""


@dataclass
class Page:
    """The service, a browser, and the tabs that a test opened."""

    program: Program
    browser: Browser
    tabs: list[Tab] = field(default_factory=list)
    spare: list[Tab] = field(default_factory=list)
    """Tabs that show nothing, to be used again."""
    held: list[Tab] = field(default_factory=list)
    """Tabs that hold back requests, which are of use once."""
    expected: list[str] = field(default_factory=list)
    """What is to be complained of, however late: a part of each such complaint."""

    @property
    def root(self) -> str:
        """The DICOMweb root."""
        root: str = httpx.get(f"{self.address}config.json", timeout=PATIENCE_S).json()["dicomweb"]
        return self.address + root

    def expects(self, complaint: str) -> bool:
        """Whether the test that is running is about what a tab complains of."""
        return any(part in complaint for part in self.expected)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.program.port}/"

    def open(self, place: str = "", *, width: int = 1280, height: int = 800) -> Tab:
        """A tab that shows a place of the page."""
        tab = self.spare.pop() if self.spare else self.browser.open()
        self.tabs.append(tab)
        tab.resize(width, height)
        tab.go(self.address + place)
        return tab

    def open_holding(self, pattern: str, place: str = "") -> Tab:
        """A tab that holds back requests whose URLs match `pattern` until `release()` is run in it."""
        tab = self.browser.open()
        self.tabs.append(tab)
        self.held.append(tab)
        tab.call(
            "Page.addScriptToEvaluateOnNewDocument", source=_HOLD.replace("PATTERN", json.dumps(pattern))
        )
        tab.go(self.address + place)
        return tab

    def store(self, *files: bytes) -> list[str]:
        """Store files; where they lie below the DICOMweb root."""
        return [self._store(file) for file in files]

    def _store(self, file: bytes) -> str:
        response = httpx.post(
            f"{self.root}/studies",
            content=file,
            headers={"Content-Type": "application/dicom"},
            timeout=PATIENCE_S,
        )
        assert response.status_code in (200, 202), response.text
        url: str = response.json()["00081199"]["Value"][0]["00081190"]["Value"][0]
        return url.removeprefix(self.root)

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

    def delete(self, path: str) -> None:
        """Delete what lies at a path below the DICOMweb root."""
        assert httpx.delete(self.program.root + path, timeout=PATIENCE_S).status_code == 204

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


@pytest.fixture(scope="session")
def program(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    yield from serving(tmp_path_factory.mktemp("page"), ISTHMUS_ON_DUPLICATE="replace")


@pytest.fixture(scope="session")
def elsewhere(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """A service below a prefix, with its bridge and OHIF on other hosts."""
    yield from serving(
        tmp_path_factory.mktemp("elsewhere"),
        ISTHMUS_PREFIX="/pacs/dicom-web",
        ISTHMUS_BRIDGE_URL="https://bridge.example.org:8443/isthmus/",
        ISTHMUS_OHIF_URL="https://viewer.example.org/ohif/",
    )


@pytest.fixture(scope="session")
def spare() -> list[Tab]:
    """Tabs that tests have left."""
    return []


@pytest.fixture
def page(browser: Browser, program: Program, spare: list[Tab]) -> Iterator[Page]:
    """The page; what it complained of fails the test."""
    yield from _watched(Page(program, browser, spare=spare))


@pytest.fixture
def page_elsewhere(browser: Browser, elsewhere: Program, spare: list[Tab]) -> Iterator[Page]:
    """The page of the service `elsewhere`."""
    yield from _watched(Page(elsewhere, browser, spare=spare))


@pytest.fixture
def empty_page(browser: Browser, tmp_path: Path, spare: list[Tab]) -> Iterator[Page]:
    """The page of a service that has nothing."""
    for program in serving(tmp_path):
        yield from _watched(Page(program, browser, spare=spare))


def _watched(shown: Page) -> Iterator[Page]:
    yield shown
    complaints = [text for tab in shown.tabs for text in tab.complaints if not shown.expects(text)]
    requests = [url for tab in shown.tabs for url in tab.requests]
    for tab in shown.tabs:
        if tab not in shown.held and _renewed(tab):
            shown.spare.append(tab)
        else:
            tab.close()
    assert complaints == []
    assert [url for url in requests if not url.startswith((shown.address, "data:", "about:"))] == []


def _renewed(tab: Tab) -> bool:
    try:
        tab.renew()
    except AssertionError:  # it waits for something, of which the test that left it so tells
        return False
    return True
