"""What OHIF shows of a study: the samples that it decoded, and the picture that it drew of them."""

import base64
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import httpx2 as httpx
import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from tests.browsing import Browser, Tab
from tests.e2e.conftest import Program

PATIENCE_S = 120.0
_SHOWN = """
(() => {
  const [element] = cornerstone.getEnabledElements();
  const viewport = element.viewport;
  const image = cornerstone.cache.getImage(viewport.getCurrentImageId());
  if (!image || viewport.viewportStatus !== "rendered") return null;
  return {
    address: viewport.getCurrentImageId(), count: viewport.getImageIds().length,
    rows: image.rows, columns: image.columns, colour: image.color,
    samples: Array.from(image.getPixelData()), window: viewport.getProperties().voiRange,
    picture: viewport.getCanvas().toDataURL("image/png"),
  };
})()
"""

Samples = NDArray[Any]


@dataclass(frozen=True)
class Shown:
    """An image in a viewport: `samples` as decoded there, modality values where it is grey."""

    address: str
    count: int
    samples: Samples
    picture: NDArray[np.uint8]
    window: tuple[float, float]

    @property
    def instance(self) -> str:
        return self.address.partition("/instances/")[2].partition("/")[0]


@dataclass
class Viewer:
    """OHIF before a running service."""

    program: Program
    browser: Browser
    tabs: list[Tab] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.program.port}/ohif/"

    def store(self, file: bytes) -> None:
        """Store a file in the service."""
        response = httpx.post(
            f"{self.program.root}/studies",
            content=file,
            headers={"Content-Type": "application/dicom"},
            timeout=PATIENCE_S,
        )
        assert response.status_code in (200, 202), response.text

    def open(self, place: str = "") -> Tab:
        """A tab of the viewer."""
        self.tabs.append(self.browser.open(self.address + place, width=1200, height=800))
        return self.tabs[-1]

    def study(self, study: str) -> Tab:
        """A tab in which a study is opened."""
        return self.open(f"viewer?StudyInstanceUIDs={study}")

    def wrong(self) -> list[str]:
        """What the browser complained of, and what it asked of other hosts; the tabs are closed."""
        origin = f"http://127.0.0.1:{self.program.port}/"
        strange = [
            url
            for tab in self.tabs
            for url in tab.requests
            if not url.removeprefix("blob:").startswith((origin, "data:", "about:"))
        ]
        complaints = [text for tab in self.tabs for text in tab.complaints]
        while self.tabs:
            self.tabs.pop().close()
        return strange + complaints


def shown(tab: Tab) -> Shown:
    """What the first viewport shows, once it shows it."""
    tab.wait_for(f"window.cornerstone && cornerstone.getEnabledElements().length && {_SHOWN.strip()}")
    told = tab.run(_SHOWN)
    depth = (3,) if told["colour"] else ()
    samples = np.array(told["samples"]).reshape(told["rows"], told["columns"], -1)
    picture = imagecodecs.png_decode(base64.b64decode(told["picture"].partition(",")[2]))
    window = (told["window"]["lower"], told["window"]["upper"]) if told["window"] else (0.0, 255.0)
    kept = samples[..., :3] if depth else samples[..., 0]
    return Shown(told["address"], told["count"], kept, picture[..., :3], window)


def drawn(levels: Samples, picture: NDArray[np.uint8]) -> tuple[float, float]:
    """How a picture of the viewer agrees with grey levels or colours of rows × columns, from 0 to 255.

    The image fills the height or the width, whichever is reached first. The first figure is the correlation
    and the second the mean difference, both of it in a coarse grid, since the viewer interpolates.
    """
    grid = 48
    colours = np.repeat(levels[..., None], 3, -1) if levels.ndim == 2 else levels
    rows, columns = colours.shape[:2]
    scale = min(picture.shape[0] / rows, picture.shape[1] / columns)
    top = round((picture.shape[0] - rows * scale) / 2)
    left = round((picture.shape[1] - columns * scale) / 2)
    inside = picture[top : top + round(rows * scale), left : left + round(columns * scale)]
    expected, found = (_coarse(one.astype(float), grid) for one in (colours, inside))
    return float(np.corrcoef(expected.ravel(), found.ravel())[0, 1]), float(np.abs(expected - found).mean())


def _coarse(image: Samples, grid: int) -> Samples:
    """The means of the fields of a grid."""
    down = np.linspace(0, image.shape[0], grid + 1).astype(int)
    across = np.linspace(0, image.shape[1], grid + 1).astype(int)
    sums = np.pad(image.cumsum(0).cumsum(1), ((1, 0), (1, 0), (0, 0)))
    whole = sums[down][:, across]
    fields = whole[1:, 1:] - whole[:-1, 1:] - whole[1:, :-1] + whole[:-1, :-1]
    sizes = np.diff(down)[:, None, None] * np.diff(across)[None, :, None]
    means: Samples = fields / sizes
    return means


def as_file(dataset: Dataset) -> bytes:
    """A data set with its file meta as a file."""
    stream = BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()
