"""Traces by OpenTelemetry: what one request, or one association, had done for it, step by step.

Off unless OTEL_EXPORTER_OTLP_ENDPOINT says where they go; then nothing of OpenTelemetry is loaded, and a span
is one object that does nothing. No span has an attribute that comes from a patient, and of an exception its
kind alone is told: messages may hold anything.
"""

import contextvars
import functools
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Tracer

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_LAST_WORDS_S = 2.0
_UNNAMED = "unknown_service"
TRACEPARENT = "traceparent"
_LONGEST = 64  # characters of a header that is read
_MOST_STEPS = 256  # of one request or message, of those that may be very many

type Value = str | int | float | bool


class Span(Protocol):
    """One step that is being taken."""

    def set(self, name: str, value: Value) -> None:
        """Note something about it; never what is a patient's."""
        ...

    def rename(self, name: str) -> None:
        """Call it otherwise, when it is known what it is."""
        ...

    def fail(self, kind: str) -> None:
        """Say that it failed, and of what kind the error was."""
        ...


class _Nothing:
    """The span of a program that traces nothing, and the block that it is of."""

    def set(self, name: str, value: Value) -> None:
        pass

    def rename(self, name: str) -> None:
        pass

    def fail(self, kind: str) -> None:
        pass

    def __enter__(self) -> Span:
        return self

    def __exit__(self, *_: object) -> None:
        pass


_NOTHING = _Nothing()
_tracer: "Tracer | None" = None
_steps_left: contextvars.ContextVar[list[int] | None] = contextvars.ContextVar("isthmus_steps", default=None)


def collector(environ: Mapping[str, str]) -> str:
    """Where traces go by the variables that OpenTelemetry has for it; empty for nowhere."""
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return ""
    if environ.get("OTEL_TRACES_EXPORTER", "otlp").strip() not in ("", "otlp"):
        return ""
    return next((told for name in _ENDPOINTS if (told := environ.get(name, "").strip())), "")


@contextmanager
def tracing(endpoint: str, program: str) -> Iterator[None]:
    """Have the spans of this process sent to a collector while the block lasts; none without an `endpoint`.

    What else OpenTelemetry's variables say (headers, certificates, sampling, names) is read by its own
    library. A collector that is away is never waited for: spans are dropped then.
    """
    global _tracer
    if not endpoint:
        yield
        return
    provider = _provider(program)
    _tracer = provider.get_tracer("isthmus")
    try:
        yield
    finally:
        _tracer = None
        ending = threading.Thread(target=provider.shutdown, name="traces", daemon=True)
        ending.start()
        ending.join(_LAST_WORDS_S)


def _provider(program: str) -> "TracerProvider":
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    resource = Resource.create()  # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES come first
    if str(resource.attributes.get(SERVICE_NAME, _UNNAMED)).startswith(_UNNAMED):
        resource = resource.merge(Resource({SERVICE_NAME: program}))
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


def is_on() -> bool:
    """Whether spans go anywhere."""
    return _tracer is not None


def span(name: str, kind: str = "internal", *, parent: str | None = None) -> AbstractContextManager[Span]:
    """A step for the time of a block; what it does in turn are steps of that.

    `kind` is internal, server or client (OpenTelemetry's SpanKind). `parent` is a `traceparent` that came
    from outside (W3C Trace Context), where one did. What raises has failed.
    """
    return _NOTHING if _tracer is None else _begun(_tracer, name, kind, parent)


@contextmanager
def _begun(tracer: "Tracer", name: str, kind: str, parent: str | None) -> Iterator[Span]:
    from opentelemetry.trace import SpanKind

    context = _context_of(parent) if parent is not None else None
    # What a server does in turn has as many steps of its own.
    before = _steps_left.get()
    _steps_left.set([_MOST_STEPS] if kind == "server" else before)
    with tracer.start_as_current_span(
        name,
        context,
        SpanKind[kind.upper()],
        record_exception=False,
        set_status_on_exception=False,
    ) as made:
        step = _Step(made)
        try:
            yield step
        except BaseException as error:
            step.fail(type(error).__name__)
            raise
        finally:
            _steps_left.set(before)


class _Step:
    """A span that is sent."""

    def __init__(self, made: Any) -> None:
        self._made = made

    def set(self, name: str, value: Value) -> None:
        self._made.set_attribute(name, value)

    def rename(self, name: str) -> None:
        self._made.update_name(name)

    def fail(self, kind: str) -> None:
        from opentelemetry.trace import StatusCode

        self._made.set_attribute("error.type", kind)
        self._made.set_status(StatusCode.ERROR)


def traceparent() -> str:
    """The running step as others are told of it (W3C Trace Context); empty without one."""
    if _tracer is None:
        return ""
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    told: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(told)
    return told.get(TRACEPARENT, "")


def _context_of(parent: str) -> Any:
    from opentelemetry.context import Context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract({TRACEPARENT: parent[:_LONGEST]}, Context())


# What is done in other threads, and by parts that know nothing of traces.


def carried[**P, R](function: Callable[P, R]) -> Callable[P, R]:
    """`function`, to be run in another thread as a part of the running step."""
    if _tracer is None:
        return function
    context = contextvars.copy_context()

    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        # A context is entered once at a time, and what is made for several may run more than once.
        return context.copy().run(function, *args, **kwargs)

    return run


def carrying(pool: ThreadPoolExecutor) -> ThreadPoolExecutor:
    """`pool`, whose threads take the step that submitted with them."""
    if _tracer is not None:
        submit = pool.submit

        def carry(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
            return submit(carried(function), *args, **kwargs)

        _replace(pool, "submit", carry)
    return pool


def watched[T](thing: T, name: str, *methods: str) -> T:
    """`thing`, each call of these methods of which is a step, `name method`; itself where nothing is traced.

    Of the many steps that a large answer takes the first are told.
    """
    if _tracer is not None:
        for method in methods:
            original = getattr(thing, method, None)
            if original is not None:
                _replace(thing, method, stepped(original, f"{name} {method}"))
    return thing


def stepped[**P, R](function: Callable[P, R], name: str) -> Callable[P, R]:
    """`function`, whose every call is a step called `name`, as far as there may be more."""

    @functools.wraps(function)
    def step(*args: P.args, **kwargs: P.kwargs) -> R:
        left = _steps_left.get()
        if left is None or left[0] <= 0:  # work that nobody asked for, or more of it than a trace should hold
            return function(*args, **kwargs)
        left[0] -= 1
        with span(name):
            return function(*args, **kwargs)

    return step


def _replace(thing: object, name: str, function: Callable[..., Any]) -> None:
    setattr(thing, name, function)
