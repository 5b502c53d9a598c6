"""What others publish on npm, for tests and measurements: the packages of a lock file, or a single one."""

import base64
import contextlib
import hashlib
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

_OHIF = "@ohif/app@3.13.2"
_OHIF_SHA512 = "WZdxmpmG7rqFgW9ZJLcbgr3XCtLi1KDNPoMaeY5PPe6j4G4fjEjjkycZM6C6Zk2F87BKxFfpq+jd5xXZB9E8EA=="
_PATIENCE_S = 200
# What npm says where there is no network, or none that leads to its registry.
_UNREACHABLE = (
    *("ENOTFOUND", "EAI_AGAIN", "ENETUNREACH", "EHOSTUNREACH"),
    *("ECONNREFUSED", "ECONNRESET", "ETIMEDOUT", "ENOTCACHED"),
)
_QUIETLY = ("--no-audit", "--no-fund", "--fetch-retries=0", "--fetch-timeout=60000")


class Unavailable(Exception):
    """The packages cannot be had here; the text says why."""


@contextlib.contextmanager
def or_skip() -> Iterator[None]:
    """Skip the test where packages cannot be had."""
    try:
        yield
    except Unavailable as error:
        pytest.skip(str(error))


def installed(lock: Path, into: Path, *, node: int = 18) -> Path:
    """Install what the `package-lock.json` in `lock` names, below `into`: the folder `node_modules`.

    `node` is the oldest version of Node.js that runs it.
    """
    for name in ("package.json", "package-lock.json"):
        shutil.copy(lock / name, into)
    _npm(["ci", *_QUIETLY], into)
    told = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout
    if int(told.removeprefix("v").partition(".")[0]) < node:
        raise Unavailable(f"These packages need Node.js {node} or newer; here is {told.strip()}.")
    return into / "node_modules"


def unpacked(
    package: str, sha512: str, into: Path, wanted: Callable[[str], bool] = lambda name: True
) -> Path:
    """The files of a package, named name@version, whose archive has this digest in base64: their folder.

    `wanted` says of the name of a file whether it is unpacked.
    """
    _npm(["pack", package, *_QUIETLY], into)
    (packed,) = into.glob("*.tgz")
    digest = base64.b64encode(hashlib.sha512(packed.read_bytes()).digest()).decode()
    assert digest == sha512, f"{package} is not the one that is known: its SHA-512 is {digest}."
    with tarfile.open(packed) as archive:
        archive.extractall(into, [one for one in archive if wanted(one.name)], filter="data")
    packed.unlink()
    return into / "package"


def ohif(into: Path) -> Path:
    """The viewer OHIF as it is published, less maps and models of other tools, a fifth of it."""
    return unpacked(_OHIF, _OHIF_SHA512, into, lambda name: "/ort/" not in name and not name.endswith(".map"))


def _npm(arguments: Sequence[str], folder: Path) -> None:
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            raise Unavailable(f"{program} is not installed: packages of npm cannot be had.")
    done = subprocess.run(
        ["npm", *arguments], cwd=folder, capture_output=True, text=True, timeout=_PATIENCE_S, check=False
    )
    if done.returncode and any(code in done.stderr for code in _UNREACHABLE):
        raise Unavailable("The registry of npm cannot be reached: packages of npm cannot be had.")
    assert done.returncode == 0, done.stderr
