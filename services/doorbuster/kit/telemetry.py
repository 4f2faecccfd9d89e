"""Logs, traces and metrics: structured lines with trace ids, W3C trace context, Prometheus."""

import functools
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import structlog
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from typing_extensions import override

_QUIET_SECONDS = 10.0
_LONGEST_MESSAGE = 500
_REMEMBERED_MESSAGES = 1000
_PROPAGATOR = TraceContextTextMapPropagator()


class LibraryHandler(logging.Handler):
    """Writes what libraries log as structured lines; a message that repeats itself appears every 10 s."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._quiet_until: dict[tuple[str, str], float] = {}

    @override
    def emit(self, record: logging.LogRecord) -> None:
        key = (record.name, str(record.msg)[:_LONGEST_MESSAGE])
        now = self._clock()
        if self._quiet_until.get(key, now) > now:
            return
        if len(self._quiet_until) >= _REMEMBERED_MESSAGES:
            self._quiet_until.clear()
        self._quiet_until[key] = now + _QUIET_SECONDS
        log().log(
            record.levelno,
            "library_log",
            logger=record.name,
            message=record.getMessage()[:_LONGEST_MESSAGE],
            exc_info=record.exc_info,
        )


def start(service: str, level: str) -> None:
    """Configure logging and tracing for this process; called once, first thing."""
    trace.set_tracer_provider(TracerProvider(resource=Resource({"service.name": service})))
    logging.basicConfig(level=level, handlers=[LibraryHandler()], force=True)
    logging.getLogger("aiokafka").setLevel(logging.ERROR)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            _add_trace_ids,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[level.upper()]
        ),
        logger_factory=structlog.PrintLoggerFactory(),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service)


def _add_trace_ids(_logger: Any, _method: str, event: Any) -> Any:
    span = trace.get_current_span().get_span_context()
    if span.is_valid:
        event["trace_id"] = f"{span.trace_id:032x}"
        event["span_id"] = f"{span.span_id:016x}"
    return event


@functools.cache  # making one costs more than most log lines that are filtered out
def log() -> Any:
    """Return the process's structured logger."""
    return structlog.get_logger()


@functools.cache  # looking it up costs more than a span
def tracer() -> trace.Tracer:
    """Return the tracer."""
    return trace.get_tracer("doorbuster")


def inject(carrier: dict[str, str]) -> dict[str, str]:
    """Add ``traceparent`` (and ``tracestate``) of the current span to ``carrier``; returns it."""
    _PROPAGATOR.inject(carrier)
    return carrier


def traceparent() -> str | None:
    """Return the current span's traceparent, if there is one."""
    return inject({}).get("traceparent")


@contextmanager
def span(
    name: str,
    kind: trace.SpanKind = trace.SpanKind.INTERNAL,
    *,
    carrier: dict[str, str] | None = None,
    attributes: dict[str, Any] | None = None,
) -> Iterator[trace.Span]:
    """Open a span, as a child of ``carrier``'s trace context when one is given."""
    parent = _PROPAGATOR.extract(carrier) if carrier else None
    with tracer().start_as_current_span(
        name, context=parent, kind=kind, attributes=attributes
    ) as current:
        yield current


def start_span(name: str, kind: trace.SpanKind, carrier: Mapping[str, str]) -> trace.Span:
    """Start a span in ``carrier``'s trace without making it current; the caller ends it.

    For batches: one span an item, each in its own trace.
    """
    return tracer().start_span(
        name, context=_PROPAGATOR.extract(dict(carrier), Context()), kind=kind
    )


def carrier_of(span: trace.Span) -> dict[str, str]:
    """Return the trace context that makes others children of ``span``."""
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier, trace.set_span_in_context(span, Context()))
    return carrier


@contextmanager
def no_span() -> Iterator[None]:
    """Leave the current trace: what a background loop starts is nobody's child."""
    token = otel_context.attach(Context())
    try:
        yield
    finally:
        otel_context.detach(token)
