"""What the chart has pods do, done by the real programs."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import urllib.request
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import yaml

from tests.e2e.conftest import Program, free_port
from tests.helm.charts import CHART, ROOT, environment_of

SCRIPT = CHART / "files" / "store_and_read.py"
PATIENCE_S = 60


def run(*command):
    """A command of a pod, by the environment of these tests."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE_S, check=False, env=environ, cwd="/"
    )


def run_script(*arguments):
    return run(sys.executable, str(SCRIPT), *arguments)


@dataclass(frozen=True, slots=True)
class Pod:
    """The embedded pod, as the chart describes it, on this machine's loopback."""

    service: Program
    bridge: Program
    tested: list[str]
    """What the test pod is told."""


@pytest.fixture(scope="module")
def pod(renderer, tmp_path_factory):
    """Service and bridge, each with the environment of its container, ready."""
    folder = tmp_path_factory.mktemp("pod")
    here, port = "127.0.0.1", free_port()
    values = {
        "service": {"host": here, "port": port},
        "bridge": {"host": here, "port": free_port(), "http": {"port": free_port()}},
    }
    (folder / "values.yaml").write_text(yaml.safe_dump(values))
    release = renderer.render([CHART / "ci" / "embedded-values.yaml", folder / "values.yaml"])
    (folder / "peers.toml").write_text(release.named("ConfigMap", "isthmus-peers")["data"]["peers.toml"])
    containers = {container["name"]: container for _, _, container in release.containers()}
    programs = {}
    try:
        for name in ("service", "bridge"):
            environ = environment_of(containers[name])
            own = {
                variable: value.replace("/data/", f"{folder}/").replace("/etc/isthmus/peers/", f"{folder}/")
                for variable, value in environ.items()
            }
            programs[name] = Program(folder, *containers[name]["args"], **own)
        programs["service"].port = port
        programs["service"].wait_ready()
        programs["bridge"].wait_for("listening ae_title=ISTHMUS")
        told = [re.sub(r"(//|@)[a-z-]+:", rf"\g<1>{here}:", text) for text in containers["test"]["args"]]
        yield Pod(programs["service"], programs["bridge"], told)
    finally:
        for program in programs.values():
            program.close()


@pytest.fixture
def answering():
    """Starts servers that answer everything alike, with a status and headers."""
    servers = []

    def start(status, **headers):
        class Alike(BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def do_POST(self):
                self.rfile.read(int(self.headers["Content-Length"]))
                self.do_GET()

            def log_message(self, *_):
                return

        server = ThreadingHTTPServer(("127.0.0.1", 0), Alike)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}/dicom-web"

    yield start
    for server, thread in servers:
        server.shutdown()
        thread.join(PATIENCE_S)
        server.server_close()


def test_the_test_pod_stores_and_reads_and_leaves_nothing_behind(pod):
    done = run_script(*pod.tested)

    assert (done.returncode, done.stderr) == (0, "")
    assert "stored, found, read and deleted" in done.stdout
    assert "answers a C-ECHO" in done.stdout
    with urllib.request.urlopen(f"{pod.service.root}/studies", timeout=PATIENCE_S) as answer:
        assert json.loads(answer.read() or b"[]") == []


def test_the_test_pod_says_what_is_amiss(answering):
    nobody = f"127.0.0.1:{free_port()}"
    for arguments, told in (
        ([f"--web=http://{nobody}/dicom-web"], "refused"),
        ([f"--web={answering(503)}"], "was answered 503"),
        ([f"--web={answering(200)}"], "was not stored"),
        ([f"--dimse=ISTHMUS@{nobody}"], "takes no association"),
        (["--guarded", f"--web={answering(200)}"], "was answered 200"),
        (["--guarded", f"--web={answering(502)}"], "was answered 502"),
    ):
        done = run_script(*arguments)
        assert done.returncode == 1, arguments
        assert told in done.stderr, (arguments, done.stderr)


@pytest.mark.parametrize("status", [401, 403, 302])
def test_the_test_pod_is_content_with_a_proxy_that_refuses_it(answering, status):
    done = run_script("--guarded", f"--web={answering(status, Location='https://login.example.org/')}")

    assert (done.returncode, done.stderr) == (0, "")


def test_the_commands_of_probes_say_how_the_service_is(pod, value_set):
    probes = [
        container[f"{kind}Probe"]["exec"]["command"]
        for _, _, container in value_set("oidc").containers()
        if container["name"] == "service"
        for kind in ("startup", "liveness", "readiness")
    ]
    assert len(probes) == 6
    for program, *arguments in {tuple(probe) for probe in probes}:
        assert program == "isthmus"
        here = [text.replace(":8080/", f":{pod.service.port}/") for text in arguments]
        assert run(sys.executable, "-m", "service", *here).returncode == 0
        nowhere = [text.replace(":8080/", f":{free_port()}/") for text in arguments]
        assert run(sys.executable, "-m", "service", *nowhere).returncode == 1


def test_a_service_that_is_told_to_stop_waits_for_the_bridge_beside_it(value_set, tmp_path):
    if shutil.which("flock") is None:
        pytest.skip("flock is not installed")
    containers = value_set("embedded").named("StatefulSet", "isthmus")["spec"]["template"]["spec"][
        "containers"
    ]
    hook = containers[0]["lifecycle"]["preStop"]["exec"]["command"]
    lock, timeout = hook.index("/data/bridge/lock"), hook.index("--timeout") + 1
    assert hook[lock + 1 :] == ["true"]

    def waiting(limit):
        """The hook, which says "ended" where it found the bridge ended within its limit."""
        own = [*hook[:lock], str(tmp_path / "state" / "lock"), "echo", "ended"]
        own[timeout] = limit
        return own

    bridge = Program(tmp_path, "bridge", ISTHMUS_BRIDGE_STATE=str(tmp_path / "state"))
    try:
        bridge.wait_for("listening ae_title=ISTHMUS")
        while_it_runs = run(*waiting("0"))
        with subprocess.Popen(waiting(hook[timeout]), stdout=subprocess.PIPE, text=True) as hooked:
            bridge.signal(signal.SIGTERM)
            after_it, _ = hooked.communicate(timeout=PATIENCE_S)
        assert bridge.end() == 0
    finally:
        bridge.close()

    assert (while_it_runs.returncode, while_it_runs.stdout) == (0, "")
    assert (hooked.returncode, after_it) == (0, "ended\n")
