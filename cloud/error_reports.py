"""Tells somebody of errors at once: each logged error goes to a webhook, without anything that a person typed.

A report says which event, what kind of error, where in the code and for which request; never the error's own text,
which may quote what was sent. It never holds a request up: a bounded queue and one thread stand between, the same
error is told once a minute, and where the webhook does not answer, the log still has everything.
"""

import json
import logging
import queue
import threading
import traceback
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Protocol

from cloud.logs import REQUEST_ID, event_of
from sync.clock import Clock

_log = logging.getLogger(__name__)

WAITING_MAX = 100
KINDS_MAX = 1000
TOLD_AGAIN_AFTER_MS = 60_000
_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class ErrorReport:
    """One error; ``untold_count`` are those of the same kind since the last report."""

    service: str
    at_ms: int
    event: str
    error: str
    place: str
    request_id: str
    untold_count: int


class Reporter(Protocol):
    """Takes a report to whoever looks at errors; raises ``OSError`` where it cannot."""

    def __call__(self, report: ErrorReport) -> None: ...


class Webhook:
    """Posts a report as JSON; ``text`` is what chats show, the other fields are for programs."""

    def __init__(self, url: str) -> None:
        if not url.startswith(("https://", "http://")):
            raise ValueError("a webhook has an address that begins with https:// or http://")
        self._url = url

    def __call__(self, report: ErrorReport) -> None:
        text = f"{report.service}: {report.event} ({report.error or 'no exception'}) at {report.place}"
        body = json.dumps({"text": text} | asdict(report)).encode()
        request = urllib.request.Request(  # noqa: S310 - the scheme was checked when the webhook was made.
            self._url, body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S):  # noqa: S310
            pass


class ErrorReports(logging.Handler):
    """A handler of the log that hands errors to a reporter, from a thread of its own."""

    def __init__(self, reporter: Reporter, clock: Clock, *, service: str) -> None:
        super().__init__(logging.ERROR)
        self._reporter = reporter
        self._clock = clock
        self._service = service
        self._told: dict[tuple[str, str, str], tuple[int, int]] = {}
        self._waiting: queue.Queue[ErrorReport | None] = queue.Queue(WAITING_MAX)
        self._thread = threading.Thread(target=self._report_all, name="error-reports", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Hand a report over, unless the same was told within the last minute or too many wait."""
        report = self._report_of(record)
        if report is None:
            return
        try:
            self._waiting.put_nowait(report)
        except queue.Full:
            _log.warning("error_report_dropped event=%s", report.event)

    def close(self) -> None:
        """Report what waits, for as long as one webhook's time-out at most, and end."""
        try:
            self._waiting.put(None, timeout=_TIMEOUT_S)
        except queue.Full:
            _log.warning("error_reports_given_up")
        self._thread.join(_TIMEOUT_S)
        super().close()

    def _report_of(self, record: logging.LogRecord) -> ErrorReport | None:
        now_ms, event = self._clock.now_ms(), event_of(record)
        error, place = _error_of(record)
        key = (event, error, place)
        told_ms, untold = self._told.get(key, (now_ms - TOLD_AGAIN_AFTER_MS, 0))
        if 0 <= now_ms - told_ms < TOLD_AGAIN_AFTER_MS:
            self._told[key] = (told_ms, untold + 1)
            return None
        if len(self._told) >= KINDS_MAX:
            self._told.clear()
        self._told[key] = (now_ms, 0)
        return ErrorReport(self._service, now_ms, event, error, place, REQUEST_ID.get(), untold)

    def _report_all(self) -> None:
        while (report := self._waiting.get()) is not None:
            try:
                self._reporter(report)
            except OSError as error:
                _log.warning("error_report_failed event=%s error=%s", report.event, type(error).__name__)


@contextmanager
def reporting_errors(reporter: Reporter | None, clock: Clock, *, service: str) -> Iterator[None]:
    """Report every logged error while this lasts; without a reporter nothing is reported."""
    if reporter is None:
        yield
        return
    handler = ErrorReports(reporter, clock, service=service)
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
        handler.close()


def _error_of(record: logging.LogRecord) -> tuple[str, str]:
    """Return the kind of error and its place in the code: where it was raised, else where it was logged."""
    if not record.exc_info or record.exc_info[0] is None:
        return "", f"{record.module}:{record.funcName}:{record.lineno}"
    frames = traceback.extract_tb(record.exc_info[2])
    place = f"{frames[-1].filename.rpartition('/')[2]}:{frames[-1].name}:{frames[-1].lineno}" if frames else ""
    return record.exc_info[0].__name__, place
