"""Cornerstone's image loader as it is published, bundled into a page of its own before a running service."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import packages
from tests.browsing import Browser, chromium, folder_served
from tests.e2e.conftest import Program
from tests.e2e.loader.loading import Loader

_HERE = Path(__file__).parent
_WORKER = "node_modules/@cornerstonejs/dicom-image-loader/dist/esm/decodeImageFrameWorker.js"
_BUNDLING = (
    *("--bundle", "--format=esm", "--platform=browser", "--log-level=error"),
    *("--external:fs", "--external:path", "--alias:events=./absent.js", "--alias:url=./absent.js"),
    *("--entry-names=[name]", "--outdir=bundle"),
)


@pytest.fixture(scope="session")
def bundled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the page, the bundle and the codecs in WebAssembly."""
    chromium()
    folder = tmp_path_factory.mktemp("loader")
    for name in ("page.html", "entry.js", "absent.js"):
        shutil.copy(_HERE / name, folder)
    with packages.or_skip():
        modules = packages.installed(_HERE, folder)
    subprocess.run(
        [modules / ".bin/esbuild", "entry.js", _WORKER, *_BUNDLING], cwd=folder, check=True, timeout=60
    )
    (folder / "codecs").mkdir()
    for codec in modules.glob("@cornerstonejs/codec-*/dist/*.wasm"):
        (folder / "codecs" / codec.name).symlink_to(codec)
    return folder


@pytest.fixture(scope="session")
def loader(bundled: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loader]:
    """The loader in a browser, and a service of its own on another port."""
    settings = {"ISTHMUS_WORKERS": "1", "ISTHMUS_DECODED_SYNTAXES": "none"}  # it decodes JPEG XL itself
    program = Program(tmp_path_factory.mktemp("loaded"), "serve", **settings)
    try:
        program.wait_ready()
        with folder_served(bundled) as address, Browser.start() as browser:
            tab = browser.open(f"{address}page.html")
            tab.wait_for("window.loader")
            yield Loader(program, tab)
    finally:
        program.close()
