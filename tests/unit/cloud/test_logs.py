"""The log and the error reports: one line an event, the request's id on it, and nothing that a person typed."""

import io
import json
import logging
import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cloud.error_reports import TOLD_AGAIN_AFTER_MS, WAITING_MAX, ErrorReport, ErrorReports, Webhook, reporting_errors
from cloud.identity.lockout import FREE_ATTEMPTS
from cloud.logs import REQUEST_ID, JsonLines, event_of
from cloud.permissions import Role
from cloud.serve import _warn_without_peppers
from tests.fakes.cloud_world import CloudWorld, HandClock
from tests.fakes.identity_world import PASSWORD, PIN, WRONG, CountingHasher, IdentityWorld, integration

OP = "op@example.org"
EVENT = "the_test_failed number=%d"


@pytest.fixture
def lines() -> Iterator[tuple[logging.Logger, io.StringIO]]:
    """A log of its own, as JSON."""
    logger, stream = logging.getLogger("tests.log"), io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    logger.addHandler(handler)
    yield logger, stream
    logger.removeHandler(handler)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IdentityWorld]:
    made = IdentityWorld(tmp_path_factory.mktemp("logs"))
    made.person(OP, Role.SUPPORT)
    yield made
    made.close()


def test_every_event_is_one_object_on_one_line(lines: tuple[logging.Logger, io.StringIO]) -> None:
    logger, stream = lines
    logger.warning("two_lines said=%s", "first\nsecond \x00 é \u2028")
    try:
        raise ZeroDivisionError("by zero")
    except ZeroDivisionError:
        logger.exception("it_broke")
    first, second = (json.loads(line) for line in stream.getvalue().splitlines())
    assert (first["event"], first["level"], first["logger"]) == ("two_lines", "warning", "tests.log")
    assert first["message"].startswith("two_lines said=first\nsecond")
    assert first["time"].endswith("Z")
    assert "error" not in first
    assert second["error"] == "ZeroDivisionError"
    assert "test_logs.py" in second["trace"]


def test_a_line_carries_the_request_it_belongs_to(lines: tuple[logging.Logger, io.StringIO]) -> None:
    logger, stream = lines
    token = REQUEST_ID.set("0123456789abcdef")
    logger.warning("inside_it")
    REQUEST_ID.reset(token)
    logger.warning("outside_it")
    inside, outside = (json.loads(line) for line in stream.getvalue().splitlines())
    assert inside["request_id"] == "0123456789abcdef"
    assert "request_id" not in outside


@pytest.mark.parametrize(
    ("message", "event"),
    [
        ("cache_away error=%s", "cache_away"),
        ("Exception in somebody else's code", "tests.log"),
        ("word alone", "tests.log"),
        ("", "tests.log"),
    ],
)
def test_an_event_has_a_stable_name(message: str, event: str) -> None:
    record = logging.LogRecord("tests.log", logging.ERROR, "x.py", 1, message, None, None)
    assert event_of(record) == event


async def test_what_a_route_logs_in_its_thread_has_the_id_that_was_answered(world: IdentityWorld) -> None:
    seen = []

    @world.app.get("/api/v1/seen")
    def noting() -> None:
        seen.append(REQUEST_ID.get())
        raise ZeroDivisionError

    async with world.http() as http:
        answer = await http.get("/api/v1/seen")
    assert seen == [answer.headers["X-Request-ID"]]


async def test_no_secret_and_no_body_reaches_the_log_or_a_report(
    world: IdentityWorld, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    reports = Reports()

    @world.app.get("/api/v1/broken/{said}")
    def broken(said: str) -> None:
        with world.engine.begin() as connection:
            connection.exec_driver_sql("INSERT INTO no_such_table VALUES (?)", (f"said {said}",))

    with reporting_errors(reports, world.clock, service="test"):
        async with world.http() as http:
            client = await integration(http, OP)
            await client.ask("POST", "/auth/password", {"password": WRONG, "new_password": "nine other rows"})
            await client.ask("GET", "/broken/730184")
    (report,) = reports.taken
    assert (report.service, report.event, report.error) == ("test", "request_failed", "OperationalError")
    assert report.place
    logged = "\n".join(JsonLines().format(record) for record in caplog.records if record.name.startswith("cloud"))
    assert "no_such_table" in logged
    token = client.headers["Authorization"].removeprefix("Bearer ")
    for secret in (PASSWORD, WRONG, PIN, token, "nine other rows"):
        assert secret not in logged
        assert secret not in repr(report)
    assert "no_such_table" not in repr(report)


def test_who_is_locked_out_is_in_the_log_without_a_name(world: IdentityWorld, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(FREE_ATTEMPTS + 1):
        world.log_in("ada@example.org", password=WRONG, address="192.0.2.9")
    (record,) = (each for each in caplog.records if event_of(each) == "locked_out")
    assert "purpose=password" in record.getMessage()
    assert "address=192.0.2.9" in record.getMessage()
    assert "ada" not in record.getMessage()


def test_a_start_without_peppers_warns_and_one_with_them_does_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world = CloudWorld(tmp_path)
    _warn_without_peppers(world.cloud)
    (record,) = caplog.records
    assert event_of(record) == "peppers_missing"
    assert str(tmp_path / "peppers") in record.getMessage()
    world.cloud.identity.hasher = CountingHasher()
    _warn_without_peppers(world.cloud)
    assert len(caplog.records) == 1
    world.close()


@dataclass
class Reports:
    """A reporter that keeps what it was given; waits for ``may_go`` and fails where it is told to."""

    taken: list[ErrorReport] = field(default_factory=list)
    fails: bool = False
    may_go: threading.Event = field(default_factory=threading.Event)
    asked: "queue.Queue[ErrorReport]" = field(default_factory=queue.Queue)

    def __post_init__(self) -> None:
        self.may_go.set()

    def __call__(self, report: ErrorReport) -> None:
        self.asked.put(report)
        self.may_go.wait()
        if self.fails:
            raise ConnectionRefusedError
        self.taken.append(report)


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    made = logging.getLogger("tests.reports")
    yield made
    for handler in list(made.handlers):
        made.removeHandler(handler)


def test_the_same_error_is_told_once_a_minute_with_how_often_it_was_not(logger: logging.Logger) -> None:
    clock, reports = HandClock(), Reports()
    handler = ErrorReports(reports, clock, service="test")
    logger.addHandler(handler)
    for number in range(5):
        logger.error(EVENT, number)
        logger.warning(EVENT, number)
        clock.wall_ms += TOLD_AGAIN_AFTER_MS // 4
    logger.error("another_thing_failed")
    handler.close()
    assert [(each.event, each.untold_count) for each in reports.taken] == [
        ("the_test_failed", 0),
        ("the_test_failed", 3),
        ("another_thing_failed", 0),
    ]


def test_a_report_says_where_it_happened_and_for_which_request(logger: logging.Logger) -> None:
    reports = Reports()
    handler = ErrorReports(reports, HandClock(), service="test")
    logger.addHandler(handler)
    token = REQUEST_ID.set("0123456789abcdef")
    try:
        int("730184 secret")
    except ValueError:
        logger.exception("it_broke")
    REQUEST_ID.reset(token)
    handler.close()
    (report,) = reports.taken
    assert (report.error, report.request_id) == ("ValueError", "0123456789abcdef")
    assert report.place.startswith("test_logs.py:test_a_report_says_where")
    assert "730184" not in repr(report)


def test_nobody_waits_for_a_webhook_that_hangs(logger: logging.Logger, caplog: pytest.LogCaptureFixture) -> None:
    clock, reports = HandClock(), Reports()
    reports.may_go.clear()
    handler = ErrorReports(reports, clock, service="test")
    logger.addHandler(handler)
    logger.error("first_of_all")
    reports.asked.get()
    for _ in range(WAITING_MAX + 5):
        clock.wall_ms += TOLD_AGAIN_AFTER_MS
        logger.error("again_and_again")
    assert sum(event_of(each) == "error_report_dropped" for each in caplog.records) == 5
    reports.may_go.set()
    handler.close()
    assert len(reports.taken) == WAITING_MAX + 1


def test_a_webhook_that_fails_is_in_the_log_and_the_next_report_is_tried(
    logger: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    reports = Reports(fails=True)
    handler = ErrorReports(reports, HandClock(), service="test")
    logger.addHandler(handler)
    logger.error("first_of_all")
    logger.error("second_of_all")
    handler.close()
    failed = [each for each in caplog.records if event_of(each) == "error_report_failed"]
    assert [each.getMessage().split()[1] for each in failed] == ["event=first_of_all", "event=second_of_all"]
    assert reports.asked.qsize() == 2


def test_without_a_reporter_nothing_listens() -> None:
    before = list(logging.getLogger().handlers)
    with reporting_errors(None, HandClock(), service="test"):
        assert logging.getLogger().handlers == before


@pytest.mark.parametrize("url", ["", "file:///etc/passwd", "ftp://host/", "host"])
def test_a_webhook_is_an_address_of_the_web(url: str) -> None:
    with pytest.raises(ValueError, match="begins with https"):
        Webhook(url)
