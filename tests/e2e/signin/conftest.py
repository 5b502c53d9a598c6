"""The page and OHIF before the real service, which takes tokens of a real OpenID provider."""

import json
import secrets
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bcrypt
import httpx2 as httpx
import pytest

from tests.browsing import SOFTWARE_WEBGL, Browser, Tab, chromium
from tests.e2e.conftest import Program, free_port
from tests.packages import installed, ohif, or_skip

PATIENCE_S = 120.0
AUDIENCE = "https://pacs.example.org/"
CLIENT = "page"
NAME, PASSWORD = "doctor", "correct horse"
ARCHIVIST = ("archivist", "archive")
EVERYTHING = ("read", "store", "delete", "render", "share")
# The service takes tokens for a minute after they have ended, for clocks that differ.
OVER_S, SOON_S = -3600, -54


class Issuer:
    """The provider, running; see `issuer.mjs`."""

    def __init__(self, packages: Path, page: str) -> None:
        told = {"page": page, "client": CLIENT, "audience": AUDIENCE}
        script = shutil.copy(Path(__file__).with_name("issuer.mjs"), packages)
        self._process = subprocess.Popen(
            ["node", script, json.dumps(told)],
            cwd=packages,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout is not None
        self.address = self._process.stdout.readline().strip()
        assert self.address, "The provider did not start."

    def set(self, **settings: Any) -> None:
        """Have it give other tokens: `scopes`, `refreshes`, `ends_in_s`."""
        request = urllib.request.Request(f"{self.address}/tests/settings", json.dumps(settings).encode())
        with urllib.request.urlopen(request, timeout=PATIENCE_S):
            pass

    def restore(self) -> None:
        """Have it give the tokens that it gives at first."""
        self.set(scopes=EVERYTHING, refreshes=True, ends_in_s=3600)

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait(PATIENCE_S)
        assert self._process.stdout is not None
        self._process.stdout.close()


@dataclass
class Site:
    """The service, the provider, a browser, and the tabs that a test opened."""

    program: Program
    issuer: Issuer
    browser: Browser
    tabs: list[Tab] = field(default_factory=list)

    @property
    def address(self) -> str:
        """The page."""
        return f"http://127.0.0.1:{self.program.port}/"

    def open(self, place: str = "", *, width: int = 1280, height: int = 800) -> Tab:
        """A tab, of a browser that has never been here, at a place of the page."""
        tab = self.browser.open(width=width, height=height)
        self.tabs.append(tab)
        tab.go(self.address + place)
        return tab

    def signed_in(self, place: str = "", **size: int) -> Tab:
        """A tab at a place of the page, of somebody who has signed in."""
        tab = self.open(place, **size)
        sign_in(tab)
        tab.wait_for(f"location.origin + '/' === {self.address!r} && document.querySelector('#nav button')")
        return tab

    def store(self, *files: bytes) -> None:
        """Store files by the rights of somebody else."""
        for file in files:
            answer = httpx.post(
                f"{self.program.root}/studies",
                content=file,
                headers={"Content-Type": "application/dicom"},
                auth=ARCHIVIST,
                timeout=PATIENCE_S,
            )
            assert answer.status_code in (200, 202), answer.text

    def wrong(self, *expected: str) -> list[str]:
        """What browsers complained of, but for refusals with these words, and requests to anybody else."""
        known = (self.address, self.issuer.address, f"blob:{self.address}", "data:", "about:", "blob:null")
        strange = [url for tab in self.tabs for url in tab.requests if not url.startswith(known)]
        complaints = [text for tab in self.tabs for text in tab.complaints]
        return strange + [one for one in complaints if not any(word in one for word in expected)]

    def close(self) -> None:
        """Close the tabs."""
        while self.tabs:
            self.tabs.pop().close()


def sign_in(tab: Tab) -> None:
    """Fill in the form of the provider, and go on."""
    tab.wait_for("document.title === 'Sign in' && document.activeElement?.name === 'name'")
    tab.type(NAME)
    tab.press("Tab")
    tab.type(PASSWORD)
    tab.press("Enter")


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the provider's packages."""
    chromium()
    folder = tmp_path_factory.mktemp("issuer")
    with or_skip():
        installed(Path(__file__).parent, folder, node=20)
    return folder


@pytest.fixture(scope="session")
def viewer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an unpacked OHIF."""
    chromium()
    with or_skip():
        return ohif(tmp_path_factory.mktemp("viewer"))


@pytest.fixture(scope="session")
def running(packages: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """All of it but OHIF, for all tests."""
    yield from _running(packages, tmp_path_factory.mktemp("signed-in"))


@pytest.fixture(scope="session")
def viewing(packages: Path, viewer: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """All of it with OHIF."""
    yield from _running(packages, tmp_path_factory.mktemp("viewed"), ISTHMUS_OHIF=str(viewer))


def _running(packages: Path, folder: Path, **settings: str) -> Iterator[Site]:
    port = free_port()
    issuer = Issuer(packages, f"http://127.0.0.1:{port}/")
    try:
        passwords, keys = folder / "passwords", folder / "keys"
        hashed = bcrypt.hashpw(ARCHIVIST[1].encode(), bcrypt.gensalt(4)).decode()
        passwords.write_text(f"{ARCHIVIST[0]}:{hashed}:store\n")
        keys.write_text(secrets.token_urlsafe(32) + "\n")
        told = {
            "ISTHMUS_PORT": str(port),
            "ISTHMUS_WORKERS": "1",
            "ISTHMUS_AUTH": "basic,jwt",
            "ISTHMUS_PASSWORDS_FILE": str(passwords),
            "ISTHMUS_SHARE_KEY_FILE": str(keys),
            "ISTHMUS_OIDC_ISSUER": issuer.address,
            "ISTHMUS_OIDC_AUDIENCE": AUDIENCE,
            "ISTHMUS_OIDC_CLIENT_ID": CLIENT,
        }
        program = Program(folder, "serve", **told, **settings)
        program.port = port
        try:
            program.wait_ready()
            with Browser.start(*(SOFTWARE_WEBGL if settings else ())) as browser:
                yield Site(program, issuer, browser)
        finally:
            program.close()
    finally:
        issuer.close()


@pytest.fixture
def site(running: Site) -> Iterator[Site]:
    """The site as it is at first, with no tab open."""
    yield from _as_at_first(running)


@pytest.fixture
def viewed(viewing: Site) -> Iterator[Site]:
    """The site with OHIF."""
    yield from _as_at_first(viewing)


def _as_at_first(site: Site) -> Iterator[Site]:
    site.issuer.restore()
    yield site
    site.close()
