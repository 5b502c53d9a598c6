"""OHIF as it is published, served by Isthmus and run in a browser of which nothing is emulated."""

import base64
import hashlib
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browsing import Browser, chromium
from tests.e2e.conftest import Program
from tests.e2e.ohif.viewing import Viewer

VERSION = "3.13.2"
SHA512 = "WZdxmpmG7rqFgW9ZJLcbgr3XCtLi1KDNPoMaeY5PPe6j4G4fjEjjkycZM6C6Zk2F87BKxFfpq+jd5xXZB9E8EA=="
# What npm says where there is no network, or none that leads to its registry.
_UNREACHABLE = (
    *("ENOTFOUND", "EAI_AGAIN", "ENETUNREACH", "EHOSTUNREACH"),
    *("ECONNREFUSED", "ECONNRESET", "ETIMEDOUT", "ENOTCACHED"),
)
# The viewer draws by WebGL: here in software.
_FLAGS = (
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
)


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the unpacked package."""
    chromium()
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed: OHIF cannot be had.")
    folder = tmp_path_factory.mktemp("ohif")
    done = subprocess.run(
        ["npm", "pack", f"@ohif/app@{VERSION}", "--fetch-retries=0", "--fetch-timeout=60000"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=200,
    )
    if done.returncode and any(code in done.stderr for code in _UNREACHABLE):
        pytest.skip("The registry of npm cannot be reached: OHIF cannot be had.")
    assert done.returncode == 0, done.stderr
    (packed,) = folder.glob("*.tgz")
    assert base64.b64encode(hashlib.sha512(packed.read_bytes()).digest()).decode() == SHA512
    with tarfile.open(packed) as archive:
        # A fifth of the package is maps and models of other tools, which nobody asks for here.
        wanted = [one for one in archive if "/ort/" not in one.name and not one.name.endswith(".map")]
        archive.extractall(folder, wanted, filter="data")
    packed.unlink()
    return folder / "package"


@pytest.fixture(scope="session")
def viewer(build: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Viewer]:
    """OHIF in a browser, before a service of its own."""
    program = Program(
        tmp_path_factory.mktemp("viewed"), "serve", ISTHMUS_WORKERS="1", ISTHMUS_OHIF=str(build)
    )
    try:
        program.wait_ready()
        with Browser.start(*_FLAGS) as browser:
            yield Viewer(program, browser)
    finally:
        program.close()
