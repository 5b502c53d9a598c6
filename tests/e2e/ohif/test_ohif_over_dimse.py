"""OHIF, unmodified, opens a study that lives only in Orthanc's DIMSE side, with the bridge between."""

import json
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom import FileDataset
from pydicom.pixels.utils import pixel_array

from tests.browsing import SOFTWARE_WEBGL, Browser, Tab
from tests.dimse.committing import unused_port
from tests.dimse.pacs.facing import Orthanc, orthanc
from tests.e2e.conftest import PATIENCE_S, Program
from tests.e2e.ohif.viewing import shown

CT_SERIES = "studies/ct-tcia-c3n"
# Points the viewer's data source elsewhere, before any script of a page runs.
_REDIRECT = """
let held;
Object.defineProperty(window, "config", {
  configurable: true,
  get: () => held,
  set: (value) => {
    for (const source of value.dataSources) {
      for (const root of ["qidoRoot", "wadoRoot", "wadoUriRoot"]) source.configuration[root] = %s;
    }
    held = value;
  },
});
"""


@dataclass
class Site:
    """Service and bridge beside an Orthanc that is reached by DIMSE only."""

    program: Program
    orthanc: Orthanc
    browser: Browser

    @property
    def bridge(self) -> str:
        return f"http://127.0.0.1:{self.program.bridge_port}"

    @property
    def face(self) -> str:
        return f"{self.bridge}/peers/pacs/dicom-web"

    def open(self, place: str = "") -> Tab:
        """A tab of the viewer, whose data source is the face of the PACS."""
        tab = self.browser.open(width=1200, height=800)
        tab.call("Page.setBypassCSP", enabled=True)  # the service lets what it serves ask itself only
        tab.call("Page.addScriptToEvaluateOnNewDocument", source=_REDIRECT % json.dumps(self.face))
        tab.go(f"http://127.0.0.1:{self.program.port}/ohif/{place}")
        return tab

    def strange(self, tab: Tab) -> list[str]:
        """What a tab asked of others than the viewer's files and the face."""
        home = f"http://127.0.0.1:{self.program.port}/"
        # blob:, data: and about: never leave the browser (the viewer's workers may be blobs of its own).
        ours = (f"{home}ohif/", self.face, f"blob:{home}", "data:", "about:")
        return [url for url in tab.requests if not url.startswith(ours)]


@pytest.fixture(scope="module")
def site(build: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with orthanc(tmp_path_factory.mktemp("orthanc"), unused_port()) as other:
        folder = tmp_path_factory.mktemp("bridged")
        (folder / "peers.toml").write_text(
            f'[peers.pacs]\nae_title = "PACS"\nhost = "127.0.0.1"\nport = {other.dimse}\n'
        )
        program = Program(
            folder, "up", ISTHMUS_WORKERS="1", ISTHMUS_OHIF=str(build), ISTHMUS_PEERS="peers.toml"
        )
        try:
            program.wait_ready()
            with Browser.start(*SOFTWARE_WEBGL) as browser:
                yield Site(program, other, browser)
        finally:
            program.close()


@pytest.fixture(scope="module")
def images(site: Site, real_data: Path) -> dict[str, FileDataset]:
    """A CT series that Orthanc has and the service has not, by SOP Instance UID."""
    files = sorted((real_data / CT_SERIES).iterdir())
    site.orthanc.put(*(file.read_bytes() for file in files))
    found = {str(one.SOPInstanceUID): one for one in map(pydicom.dcmread, files) if "PixelData" in one}
    with urllib.request.urlopen(f"{site.program.root}/studies", timeout=PATIENCE_S) as answer:
        assert answer.status == 204
    return found


def test_the_study_list_is_that_of_the_pacs(site: Site, images: dict[str, FileDataset]):
    tab = site.open()

    tab.wait_for(f"document.body.innerText.includes({str(next(iter(images.values())).PatientID)!r})")

    assert (site.strange(tab), tab.complaints) == ([], [])
    tab.close()


def test_a_study_is_shown_as_the_pacs_has_it(site: Site, images: dict[str, FileDataset]):
    tab = site.open(f"viewer?StudyInstanceUIDs={next(iter(images.values())).StudyInstanceUID}")

    seen = shown(tab)

    image = images[seen.instance]
    slope, intercept = float(image.get("RescaleSlope", 1)), float(image.get("RescaleIntercept", 0))
    assert np.array_equal(seen.samples, pixel_array(image, index=0).astype(float) * slope + intercept)
    assert seen.count == sum(one.SeriesInstanceUID == image.SeriesInstanceUID for one in images.values())
    assert seen.address.partition(":")[2].startswith(site.face)
    assert (site.strange(tab), tab.complaints) == ([], [])
    tab.close()
