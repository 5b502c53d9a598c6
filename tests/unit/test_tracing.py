"""Traces: off they are nothing at all, on they hold together over threads."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from service import tracing
from tests.otlp import attributes, collecting

ROOT = Path(__file__).resolve().parents[2]
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch):
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        monkeypatch.delenv("OTEL_SERVICE_NAME", raising=False)
        yield collector


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, ""),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": " http://a:4318 "}, "http://a:4318"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://b"}, "http://b"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a", "OTEL_SDK_DISABLED": "TRUE"}, ""),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a", "OTEL_TRACES_EXPORTER": "none"}, ""),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a", "OTEL_TRACES_EXPORTER": "otlp"}, "http://a"),
    ],
)
def test_where_traces_go_is_said_by_the_variables_of_opentelemetry(variables, expected):
    assert tracing.collector(variables) == expected


def test_without_a_collector_nothing_of_opentelemetry_is_loaded():
    program = (
        "import sys, service.app, service.serving, bridge.__main__, service.tracing as t\n"
        "with t.tracing('', 'isthmus'):\n"
        "    with t.span('x') as step: step.set('a', 1)\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert ran.stdout == "[]\n", ran.stderr


def test_off_nothing_is_made_or_changed():
    def work() -> None: ...

    with ThreadPoolExecutor(1) as pool:
        assert tracing.carrying(pool) is pool
        assert "submit" not in vars(pool)
    assert tracing.carried(work) is work
    assert tracing.span("one") is tracing.span("another")
    assert tracing.traceparent() == ""
    thing = object()
    assert tracing.watched(thing, "thing", "method") is thing


class Thing:
    def read(self, number: int) -> int:
        return number + 1


def test_steps_in_other_threads_belong_to_who_asked(collector):
    with tracing.tracing(collector.url, "isthmus"):
        thing = tracing.watched(Thing(), "thing", "read", "nothing")
        with tracing.carrying(ThreadPoolExecutor(1)) as pool, tracing.span("asked", "server", parent=PARENT):
            assert pool.submit(thing.read, 1).result() == 2
    collector.wait_for(lambda spans: "asked" in spans and "thing read" in spans)
    spans = {span.name: span for _, span in collector.spans}
    assert spans["asked"].trace_id.hex() == "0af7651916cd43dd8448eb211c80319c"
    assert spans["asked"].parent_span_id.hex() == "b7ad6b7169203331"
    assert spans["thing read"].parent_span_id == spans["asked"].span_id
    assert {program for program, _ in collector.spans} == {"isthmus"}


def test_of_very_many_steps_the_first_are_told(collector):
    with tracing.tracing(collector.url, "isthmus"):
        thing = tracing.watched(Thing(), "thing", "read")
        thing.read(0)  # for nobody
        with tracing.span("asked", "server"):
            for number in range(1000):
                thing.read(number)
    collector.wait_for(lambda spans: "asked" in spans)
    assert len([span for _, span in collector.spans if span.name == "thing read"]) == 256


def test_of_an_error_its_kind_is_told_and_nothing_else(collector):
    on = tracing.tracing(collector.url, "isthmus")
    with on, pytest.raises(ValueError, match="Doe"), tracing.span("failing", "server"):
        raise ValueError("Doe^Jane")
    collector.wait_for(lambda spans: "failing" in spans)
    (span,) = (span for _, span in collector.spans)
    assert attributes(span)["error.type"] == "ValueError"
    assert b"Doe" not in collector.raw


@pytest.mark.parametrize(
    "parent", ["", "x" * 1000, "00-0-0-0", PARENT[:-1], "00-" + "0" * 32 + "-" + "0" * 16 + "-01"]
)
def test_a_parent_that_is_none_begins_a_trace(collector, parent):
    with tracing.tracing(collector.url, "isthmus"), tracing.span("asked", "server", parent=parent):
        assert tracing.traceparent().startswith("00-")
    collector.wait_for(lambda spans: "asked" in spans)
    ((_, span),) = collector.spans
    assert span.parent_span_id == b""


def test_a_collector_that_is_away_holds_up_nobody(monkeypatch, caplog):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    with tracing.tracing("http://127.0.0.1:9", "isthmus"), tracing.span("asked", "server"):
        pass
    assert not tracing.is_on()
