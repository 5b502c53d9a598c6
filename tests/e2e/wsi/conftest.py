"""dicom-microscopy-viewer as it is published, in a page of its own before a running service."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import packages
from tests.browsing import SOFTWARE_WEBGL, Browser, chromium, folder_served
from tests.e2e.conftest import Program
from tests.e2e.wsi.slide_viewing import SlideViewer

_HERE = Path(__file__).parent
_VIEWER = "dicom-microscopy-viewer@0.48.24"
_SHA512 = "016o/23eNqXMxgX5EjnDmFz1ROSMQmU7vmRlTVPUgshl6NaBrZzEyWkzq4BNaFFPfrE274AWdR5crW51cWh+9g=="


@pytest.fixture(scope="session")
def page_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the page, the viewer and the client that the viewer is given."""
    chromium()
    folder = tmp_path_factory.mktemp("slides")
    (folder / "index.html").symlink_to(_HERE / "page.html")
    with packages.or_skip():
        viewer = packages.unpacked(
            _VIEWER, _SHA512, tmp_path_factory.mktemp("viewer"), lambda name: "/dynamic-import/" in name
        )
        modules = packages.installed(_HERE.parent / "js", tmp_path_factory.mktemp("client"))
    (folder / "dicom-microscopy-viewer").symlink_to(viewer / "dist/dynamic-import")
    (folder / "dicomweb-client").symlink_to(modules / "dicomweb-client/build")
    return folder


@pytest.fixture(scope="session")
def slides(page_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlideViewer]:
    """The viewer in a browser, and a service of its own on another port."""
    program = Program(tmp_path_factory.mktemp("kept"), "serve", ISTHMUS_WORKERS="1")
    try:
        program.wait_ready()
        with folder_served(page_folder) as address, Browser.start(*SOFTWARE_WEBGL) as browser:
            yield SlideViewer(program, browser, address)
    finally:
        program.close()
