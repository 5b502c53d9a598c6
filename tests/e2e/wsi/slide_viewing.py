"""What dicom-microscopy-viewer shows of a slide: where its view is, and the pixels that it drew there."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx2 as httpx
import imagecodecs
import numpy as np
from numpy.typing import NDArray

from tests.browsing import Browser, Tab
from tests.e2e.conftest import Program

PATIENCE_S = 120.0
WIDTH, HEIGHT = 900, 700
_ALL_THERE = "slide.problems.length || (slide.started && slide.started === slide.ended)"

type Samples = NDArray[Any]


@dataclass(frozen=True)
class Seen:
    """A view of a slide.

    Its middle is in pixels of the largest level; `resolution` of them lie in a pixel of the screen. It is
    turned by `rotation` radians. What is drawn is `picture`: rows × columns × 3.
    """

    column: float
    row: float
    resolution: float
    rotation: float
    picture: NDArray[np.uint8]

    def places(self, rows: Samples, columns: Samples) -> tuple[Samples, Samples]:
        """Rows and columns of the largest level that lie below points of the screen."""
        across = (columns + 0.5 - self.picture.shape[1] / 2) * self.resolution
        down = (rows + 0.5 - self.picture.shape[0] / 2) * self.resolution
        cosine, sine = np.cos(self.rotation), np.sin(self.rotation)
        return self.row + down * cosine - across * sine, self.column + across * cosine + down * sine


@dataclass
class SlideViewer:
    """The viewer before a running service."""

    program: Program
    browser: Browser
    address: str
    tabs: list[Tab] = field(default_factory=list)

    def store(self, file: bytes) -> None:
        """Store a file in the service."""
        response = httpx.post(
            f"{self.program.root}/studies",
            content=file,
            headers={"Content-Type": "application/dicom"},
            timeout=PATIENCE_S,
        )
        assert response.status_code == 200, response.text

    def open(self, study: str, series: str) -> Tab:
        """A tab that shows a series, all of it in sight."""
        query = urlencode({"root": self.program.root, "study": study, "series": series})
        tab = self.browser.open(f"{self.address}?{query}", width=WIDTH, height=HEIGHT)
        self.tabs.append(tab)
        tab.wait_for(_ALL_THERE)
        return tab

    def wrong(self) -> list[str]:
        """What the browser or the viewer complained of; the tabs are closed."""
        found = [text for tab in self.tabs for text in (*tab.complaints, *tab.run("slide.problems"))] + [
            f"{tab.run('slide.failed')} tiles failed" for tab in self.tabs if tab.run("slide.failed")
        ]
        while self.tabs:
            self.tabs.pop().close()
        return found


def seen_at(tab: Tab, resolution: float, column: float, row: float, folder: Path) -> Seen:
    """What is drawn around a place; the figures are as in `Seen`."""
    told = tab.run(f"slide.go({resolution}, {column}, {row})")
    tab.wait_for(_ALL_THERE)
    path = folder / "seen.png"
    tab.screenshot(path)
    picture = imagecodecs.png_decode(path.read_bytes())[..., :3]
    return Seen(told["column"], told["row"], told["resolution"], told["rotation"], picture)
