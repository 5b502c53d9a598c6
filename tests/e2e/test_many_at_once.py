"""Many clients at the real service: stalled ones keep nobody out, and all are counted."""

import contextlib
import os
import re
import signal
import socket
import threading
import time
import urllib.request

from tests.e2e.conftest import PATIENCE_S
from tests.making import a_ct

STALLED = 150


def stalled_upload(port: int) -> socket.socket:
    """A store request whose body never goes on."""
    client = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
    head = (
        "POST /dicom-web/studies HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/dicom\r\n"
        "Content-Length: 1000000\r\n\r\n"
    )
    client.sendall(head.encode() + a_ct()[:300])
    return client


def stored(root: str) -> int:
    request = urllib.request.Request(f"{root}/studies", a_ct(), {"Content-Type": "application/dicom"})
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as response:
        return int(response.status)


def asked(url: str) -> str:
    with urllib.request.urlopen(url, timeout=PATIENCE_S) as response:
        return str(response.read(), "utf-8")


def number(text: str, name: str) -> float:
    (found,) = re.findall(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    return float(found)


def wait_counted(metrics: str, name: str, count: int) -> None:
    """Wait until so many are counted: a request is once its answer has gone out."""
    pause, ends = threading.Event(), time.monotonic() + PATIENCE_S
    while (so_far := number(asked(metrics), name)) < count:
        assert time.monotonic() < ends, so_far
        pause.wait(0.01)


def test_stalled_uploads_keep_nobody_out(start):
    service = start("serve").wait_ready()
    metrics = f"http://127.0.0.1:{service.port}/metrics"
    with contextlib.ExitStack() as clients:
        # given: more stalled uploads than there are threads, and requests whose heads never end
        for _ in range(STALLED):
            clients.enter_context(stalled_upload(service.port))
            slow = clients.enter_context(
                socket.create_connection(("127.0.0.1", service.port), timeout=PATIENCE_S)
            )
            slow.sendall(b"GET /dicom-web/studies HTTP/1.1\r\nHost: localhost\r\n")
        pause = threading.Event()
        while number(asked(metrics), "isthmus_store_requests_in_flight") < STALLED:
            pause.wait(0.05)
        # then: others store, search and read
        assert [stored(service.root) for _ in range(20)] == [200] * 20
        assert asked(f"{service.root}/instances").count('"00080018"') == 20
    while number(asked(metrics), "isthmus_store_requests_in_flight"):
        pause.wait(0.05)
    # and: what was cut is not stored
    assert asked(f"{service.root}/instances").count('"00080018"') == 20


def test_every_scrape_tells_of_all_processes_also_of_one_that_died(start):
    service = start("serve").wait_ready()
    metrics = f"http://127.0.0.1:{service.port}/metrics"
    name = 'isthmus_http_requests_total{transaction="SearchForStudies",status="204"}'
    for _ in range(20):
        asked(f"{service.root}/studies")
    wait_counted(metrics, name, 20)
    for _ in range(5):
        text = asked(metrics)
        assert number(text, name) == 20
        assert number(text, "isthmus_http_processes") == 2
    # when: a worker is killed and another takes its place
    worker = next(pid for pid, line in service.commands().items() if "--counters" in line)
    os.kill(worker, signal.SIGKILL)
    service.wait_for("died=true")
    service.wait_ready()
    for _ in range(10):
        asked(f"{service.root}/studies")
    # then: nothing is forgotten
    wait_counted(metrics, name, 30)
    assert number(asked(metrics), name) == 30
