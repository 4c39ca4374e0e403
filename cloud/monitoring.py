"""What monitoring asks: is this process alive, can it serve, and the figures that it has really measured.

``/health/live`` says only that the process answers, ``/health`` whether it can serve, which needs the database and not
Redis. Neither names a version, an address or an error. ``/metrics`` needs a token of its own, because figures by route
tell a stranger more than is good; it holds this process's requests, and of the database what costs little to ask.
"""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from fastapi import APIRouter, Depends
from fastapi.responses import Response
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector
from pydantic import BaseModel
from sqlalchemy import Engine
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cloud.cache import Cache
from cloud.db import read_if_up
from cloud.http_access import operator_check
from cloud.http_errors import ApiError
from cloud.reconciliation import store
from sync.clock import Clock

_ASKED_AGAIN_AFTER_MS = 1_000
_BELIEVED_MS = 3_000
_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})
_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class PartState(StrEnum):
    """How one part stands, seen from here."""

    OK = "ok"
    AWAY = "away"
    NOT_SET = "not_set"


@dataclass(frozen=True, slots=True)
class Standing:
    """The parts that this process stands on, and figures of the database where it answers."""

    database: PartState
    redis: PartState
    figures: store.Figures | None


_SILENT = Standing(PartState.AWAY, PartState.AWAY, None)


@dataclass(frozen=True, slots=True)
class _Known:
    asked_at_ms: int
    standing: Standing


class Health(BaseModel):
    """Whether this process can serve."""

    status: str
    database: PartState
    redis: PartState


class Alive(BaseModel):
    """This process answers."""

    status: str


class Probe:
    """Asks the parts, at most once a second however often it is asked itself; safe between threads."""

    def __init__(self, engine: Engine, cache: Cache, clock: Clock) -> None:
        self._engine = engine
        self._cache = cache
        self._clock = clock
        self._lock = threading.Lock()
        self._known: _Known | None = None

    def standing(self) -> Standing:
        """Return how the parts stand; while somebody is asking, the last answer, which is believed for three seconds.

        Who asks may wait as long as a database that hangs: nobody else does, once there has been an answer.
        """
        known = self._known
        if known is not None and self._age_ms(known) < _ASKED_AGAIN_AFTER_MS:
            return known.standing
        if not self._lock.acquire(blocking=known is None):
            is_believed = known is not None and self._age_ms(known) < _BELIEVED_MS
            return known.standing if known is not None and is_believed else _SILENT
        try:
            self._known = _Known(self._clock.monotonic_ms(), self._ask())
            return self._known.standing
        finally:
            self._lock.release()

    def _age_ms(self, known: "_Known") -> int:
        return self._clock.monotonic_ms() - known.asked_at_ms

    def _ask(self) -> Standing:
        redis = PartState.NOT_SET
        if self._cache.is_set:
            redis = PartState.OK if self._cache.ask(lambda connection: connection.ping()) else PartState.AWAY
        figures = read_if_up(self._engine, store.figures)
        return Standing(PartState.AWAY if figures is None else PartState.OK, redis, figures)


class Meter:
    """The figures of one process, in a registry of its own."""

    def __init__(self, probe: Probe) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "tillbox_http_requests",
            "Requests answered, by route template and status",
            ["method", "route", "status"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "tillbox_http_request_seconds",
            "How long answers took, by route template",
            ["method", "route"],
            buckets=_BUCKETS_S,
            registry=self.registry,
        )
        self.open = Gauge("tillbox_http_requests_open", "Requests being answered now", registry=self.registry)
        self.registry.register(_Parts(probe))
        ProcessCollector(registry=self.registry)


class Measured:
    """Measures every request, under its route's template and never under its path."""

    def __init__(self, app: ASGIApp, meter: Meter, seconds: Callable[[], float] = time.perf_counter) -> None:
        self._app = app
        self._meter = meter
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = "none"

        async def send_noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
            await send(message)

        began = self._seconds()
        try:
            with self._meter.open.track_inprogress():
                await self._app(scope, receive, send_noting)
        finally:
            method = scope["method"] if scope["method"] in _METHODS else "other"
            route = getattr(scope.get("route"), "path", "none")
            self._meter.requests.labels(method, route, status).inc()
            self._meter.seconds.labels(method, route).observe(self._seconds() - began)


class _Parts(Collector):
    """Asks the parts at the moment somebody fetches the figures."""

    def __init__(self, probe: Probe) -> None:
        self._probe = probe

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        standing = self._probe.standing()
        is_up = standing.database is PartState.OK
        yield GaugeMetricFamily("tillbox_database_up", "1 where the database answers", value=float(is_up))
        if standing.redis is not PartState.NOT_SET:
            is_there = standing.redis is PartState.OK
            yield GaugeMetricFamily("tillbox_redis_up", "1 where Redis answers", value=float(is_there))
        if standing.figures is None:
            return
        yield GaugeMetricFamily(
            "tillbox_records_complete",
            "Records that the cloud holds without a gap, over all terminals",
            value=float(standing.figures.records_count),
        )
        cases = GaugeMetricFamily("tillbox_exceptions_open", "Cases that wait for a person", labels=["kind"])
        for kind, count in sorted(standing.figures.open_exceptions.items()):
            cases.add_metric([kind], float(count))
        yield cases


def make_router(probe: Probe, meter: Meter, metrics_token: str | None) -> APIRouter:
    """Make the routes that monitoring asks."""
    router = APIRouter(tags=["monitoring"])

    @router.get("/health/live")
    def live() -> Alive:
        """Tell that this process answers."""
        return Alive(status="alive")

    @router.get("/health")
    def health() -> Health:
        """Tell whether this process can serve, and which of its parts are away; 503 where it cannot."""
        standing = probe.standing()
        if standing.database is not PartState.OK:
            fields = {"database": standing.database.value, "redis": standing.redis.value}
            message = "The database does not answer; nothing can be served until it does."
            raise ApiError(503, "not_ready", message, fields=fields, retry_after_s=2)
        return Health(status="ready", database=standing.database, redis=standing.redis)

    @router.get(
        "/metrics",
        dependencies=[Depends(operator_check(metrics_token, name="metrics token"))],
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    )
    def metrics() -> Response:
        """Return this process's figures in the Prometheus text format."""
        return Response(generate_latest(meter.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    return router
