"""The image as it runs in a cluster: its own namespaces, a read-only root, no privileges.

`.ci/image` builds the image and runs these; the containers are made of namespaces, so no engine is needed.
"""

import contextlib
import fcntl
import json
import os
import shlex
import signal
import socket
import struct
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.making import a_ct

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 120.0

pytestmark = pytest.mark.skipif(
    "IMAGE_ROOT" not in os.environ, reason="No image is built; .ci/image does it."
)

# The root read-only, /tmp in memory, the volume beside it; then no privilege is left, and none can be had.
_ENTER = """
mount --make-rprivate / && mount --bind {root} {root} && mount -o remount,ro,bind {root}
mount -t tmpfs -o mode=1777,size=64m tmpfs {root}/tmp && mount -t proc proc {root}/proc
mount --bind {volume} {root}/data
mount -t tmpfs -o mode=755 tmpfs {root}/dev
for each in null zero random urandom; do
    touch {root}/dev/$each && mount --bind /dev/$each {root}/dev/$each
done
exec chroot {root} setpriv {rights} env --ignore-environment --chdir={folder} {environment} {command}
"""


_RIGHTS = "--clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all --ambient-caps=-all"


class Image:
    """The unpacked image and what it says of itself."""

    def __init__(self) -> None:
        self.root = Path(os.environ["IMAGE_ROOT"])
        told = json.loads(Path(os.environ["IMAGE_INSPECTED"]).read_text())
        self.config: dict[str, Any] = told["Docker"]["config"]

    def environment(self, **settings: str) -> dict[str, str]:
        told = dict(entry.split("=", 1) for entry in self.config["Env"])
        return {**told, **settings}


class Container:
    """A command of the image in namespaces of its own, but in the network of the one that it is `beside`."""

    def __init__(
        self,
        image: Image,
        volume: Path,
        *command: str,
        user: str = "",
        beside: "Container | None" = None,
        **settings: str,
    ) -> None:
        self.image = image
        words = [*image.config["Entrypoint"], *(command or image.config["Cmd"])]
        script = _ENTER.format(
            root=image.root,
            volume=volume,
            folder=image.config["WorkingDir"],
            rights="--reuid={} --regid={} ".format(*(user or image.config["User"]).split(":")) + _RIGHTS,
            environment=shlex.join(
                f"{name}={value}" for name, value in image.environment(**settings).items()
            ),
            command=shlex.join(words),
        )
        if beside is None:
            network = ["--net"]
            joined: list[str] = []
        else:
            network = []
            joined = ["nsenter", f"--net=/proc/{beside.first}/ns/net"]
        self.process = subprocess.Popen(
            [*joined, "unshare", "--mount", "--pid", "--fork", *network, "sh", "-ec", script],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def first(self) -> int:
        """The first process of the container, by its number outside of it."""
        pause = threading.Event()
        for _ in range(200):
            children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
            if children:
                return int(children[0])
            assert self.process.poll() is None, self.output
            pause.wait(0.05)
        raise AssertionError(f"it did not begin:\n{self.output}")

    @property
    def output(self) -> str:
        return "".join(self._lines)

    def run(self, *command: str) -> "subprocess.CompletedProcess[str]":
        """Run a command in the running container, as `docker exec` does."""
        inside = ["nsenter", f"--target={self.first}", "--mount", "--pid", "--net", "--root"]
        dropped = ["setpriv", "--reuid=10001", "--regid=0", *_RIGHTS.split()]
        environment = [f"{name}={value}" for name, value in self.image.environment().items()]
        return subprocess.run(
            [*inside, *dropped, "env", "-i", "--chdir=/", *environment, *command],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )

    def wait_well(self, *target: str) -> str:
        """Wait until `isthmus health` says that all is well; what it says."""
        pause = threading.Event()
        for _ in range(int(PATIENCE_S)):
            asked = self.run("isthmus", "health", *target)
            if asked.returncode == 0:
                return asked.stdout
            assert self.process.poll() is None, self.output
            pause.wait(0.2)
        raise AssertionError(f"{asked.stderr}\n{self.output}")

    @contextlib.contextmanager
    def network(self) -> Iterator[None]:
        """What is connected meanwhile by this thread, is connected inside of the container."""
        with (
            Path("/proc/thread-self/ns/net").open() as home,
            Path(f"/proc/{self.first}/ns/net").open() as there,
        ):
            os.setns(there.fileno(), os.CLONE_NEWNET)
            try:
                with socket.socket() as any_socket:  # brings the loopback up: SIOCSIFFLAGS with IFF_UP
                    fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh14x", b"lo", 1))
                yield
            finally:
                os.setns(home.fileno(), os.CLONE_NEWNET)

    def request(self, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
        """One request to the service inside."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        asked = urllib.request.Request(f"http://127.0.0.1:8080{path}", data=body, headers=named)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with self.network():
            try:
                with opener.open(asked, timeout=PATIENCE_S) as response:
                    return response.status, response.read()
            except urllib.error.HTTPError as error:
                return error.code, error.read()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send the first process a signal and wait for the end; the exit code."""
        os.kill(self.first, number)
        return self.end()

    def end(self) -> int:
        code = self.process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        return code

    def close(self) -> None:
        if self.process.poll() is None:
            os.kill(self.first, signal.SIGKILL)  # and with it all that are in its namespace
            self.process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        self._lines.extend(self.process.stdout)


@pytest.fixture(scope="module")
def image() -> Image:
    return Image()


@pytest.fixture
def volume(image: Image, tmp_path: Path) -> Path:
    """A volume as an engine makes it: with owner and mode of the folder in the image."""
    made = tmp_path / "volume"
    made.mkdir()
    like = (image.root / "data").stat()
    os.chown(made, like.st_uid, like.st_gid)
    made.chmod(like.st_mode & 0o7777)
    return made


@pytest.fixture
def begin(image: Image, volume: Path) -> Iterator[Any]:
    begun: list[Container] = []

    def begin(*command: str, **options: Any) -> Container:
        container = Container(image, volume, *command, **options)
        begun.append(container)
        if "beside" not in options:
            with container.network():
                pass
        return container

    yield begin
    for container in reversed(begun):
        container.close()


def test_it_does_not_open_itself_to_everybody_unasked(begin):
    container = begin()
    assert container.end() == 2
    assert "ISTHMUS_AUTH" in container.output


@pytest.mark.parametrize(
    ("command", "setting"), [("serve", "ISTHMUS_STORE"), ("bridge", "ISTHMUS_BRIDGE_STATE")]
)
def test_a_user_who_may_not_write_the_volume_is_told_so(begin, command, setting):
    container = begin(command, user="4242:4242", ISTHMUS_AUTH="none!", ISTHMUS_WORKERS="1")
    assert container.end() == 2
    assert setting in container.output
    assert "Permission denied" in container.output


@pytest.mark.parametrize("user", ["10001:0", "1000650000:0"])
def test_what_is_stored_is_read_back_also_by_the_next_container(begin, user):
    file = a_ct([bytes(range(32))])
    container = begin(user=user, ISTHMUS_AUTH="none!")
    container.wait_well()
    # when
    status, answer = container.request("/dicom-web/studies", file, Content_Type="application/dicom")
    assert status == 200, answer
    assert container.stop() == 0, container.output
    # then
    container = begin(user=user, ISTHMUS_AUTH="none!")
    container.wait_well()
    _, found = container.request("/dicom-web/instances")
    (one,) = json.loads(found)
    study, series, instance = (one[tag]["Value"][0] for tag in ("0020000D", "0020000E", "00080018"))
    path = f"/dicom-web/studies/{study}/series/{series}/instances/{instance}"
    accept = "application/dicom; transfer-syntax=*"
    assert container.request(path, Accept=accept) == (200, file)
    status, picture = container.request(f"{path}/rendered", Accept="image/jpeg")
    assert status == 200
    assert picture.startswith(b"\xff\xd8")
    assert container.stop() == 0, container.output


def test_service_and_bridge_are_two_containers_of_one_pod(begin):
    service = begin("serve", ISTHMUS_AUTH="none!")
    service.wait_well("serve")
    bridge = begin("bridge", beside=service)
    assert "C-ECHO with 0000H" in bridge.wait_well("bridge")
    # when: a modality stores
    file = a_ct([bytes(32)])
    with service.network():
        stored = subprocess.run(
            [sys.executable, "-c", _STORE], input=file, capture_output=True, timeout=PATIENCE_S, check=False
        )
    assert stored.returncode == 0, stored.stderr
    # then
    status, found = service.request("/dicom-web/instances")
    assert (status, len(json.loads(found))) == (200, 1)
    assert bridge.stop() == 0, bridge.output
    assert service.stop() == 0, service.output


def test_ctrl_c_ends_it_too(begin):
    container = begin("serve", ISTHMUS_AUTH="none!", ISTHMUS_WORKERS="1")
    container.wait_well()
    assert container.stop(signal.SIGINT) == 0, container.output


def test_orphans_do_not_stay_as_zombies(begin):
    container = begin("bridge")
    container.wait_well()
    # when: a process loses its parent
    made = container.run("sh", "-c", "true >/dev/null 2>&1 & echo $!")
    orphan = int(made.stdout)
    # then
    pause = threading.Event()
    for _ in range(100):
        if container.run("test", "-e", f"/proc/{orphan}").returncode:
            return
        pause.wait(0.1)
    raise AssertionError(container.run("cat", f"/proc/{orphan}/status").stdout)


def test_the_program_that_hangs_is_not_well(begin):
    container = begin("bridge")
    container.wait_well()
    (child,) = Path(f"/proc/{container.first}/task/{container.first}/children").read_text().split()
    os.kill(int(child), signal.SIGSTOP)
    asked = container.run("isthmus", "health")
    os.kill(int(child), signal.SIGCONT)
    assert asked.returncode == 1
    assert "no answer" in asked.stderr


def test_the_root_cannot_be_written_nor_privilege_be_had(begin):
    container = begin("bridge")
    container.wait_well()
    for path in ("/x", "/opt/isthmus/x", "/usr/share/isthmus/x", "/etc/x"):
        assert container.run("touch", path).returncode != 0, path
    status = Path(f"/proc/{container.first}/status").read_text()
    facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert facts["Uid"].split() == ["10001"] * 4
    assert facts["NoNewPrivs"] == "1"
    assert {int(facts[name], 16) for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}


def test_nothing_in_it_compiles_or_installs(image):
    folders = image.environment()["PATH"].split(":")
    tools = ("cc", "gcc", "g++", "c++", "clang", "ld", "as", "make", "hatchling")
    assert [tool for tool in tools for folder in folders if (image.root / folder[1:] / tool).exists()] == []
    packages = {path.name for path in image.root.glob("opt/isthmus/lib/python3*/site-packages/*.dist-info")}
    assert not [
        name for name in packages if name.startswith(("hatchling-", "pip-", "pytest-", "pynetdicom-"))
    ]


def test_it_is_compiled_beforehand_and_needs_no_clock_for_that(image):
    for module in image.root.glob("opt/isthmus/lib/python3*/site-packages/service/*.py"):
        (compiled,) = (module.parent / "__pycache__").glob(f"{module.stem}.cpython-*.pyc")
        assert int.from_bytes(compiled.read_bytes()[4:8], "little") == 0b01  # PEP 552: by hash, unchecked


def test_it_says_what_is_in_it(image):
    bill = json.loads((image.root / "usr/share/isthmus/sbom.cdx.json").read_text())
    named = {component["name"] for component in bill["components"]}
    assert bill["metadata"]["component"]["name"] == "isthmus"
    assert {"imagecodecs", "numpy", "python", "libc6"} <= named
    packages = image.root.glob("opt/isthmus/lib/python3*/site-packages/*.dist-info")
    assert {path.name.split("-")[0].lower().replace("_", "-") for path in packages} <= named | {"isthmus"}
    assert "imagecodecs" in (image.root / "usr/share/isthmus/licences.txt").read_text()


def test_the_aws_services_that_credentials_come_from_are_there(begin):
    container = begin("bridge")
    container.wait_well()
    names = ["s3", "sts", "sso", "sso-oidc", "signin"]
    program = f"import boto3; [boto3.client(name, region_name='eu-central-1') for name in {names}]"
    made = container.run("python", "-c", program)
    assert made.returncode == 0, made.stderr


_STORE = """
import io, sys
from pydicom import dcmread
from pynetdicom import AE
made = dcmread(io.BytesIO(sys.stdin.buffer.read()))
entity = AE("TESTER")
entity.add_requested_context(made.SOPClassUID, made.file_meta.TransferSyntaxUID)
association = entity.associate("127.0.0.1", 11112, ae_title="ISTHMUS")
assert association.is_established
status = association.send_c_store(made).Status
association.release()
assert status == 0, hex(status)
"""
