"""``tillbox cloud serve`` as a process of its own: what it says over a real socket, in its log, and at its end."""

import json
import socket
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
import pytest

from cloud.db import upgrade
from cloud.http_guard import BODY_SIZE_MAX
from demo.processes import LOOPBACK, ServerProcess
from sync.clock import SystemClock
from tests.fakes.fleet_keys import make_keyring

TOKEN = "metrics-token-of-the-test"
PATIENCE_S = 60.0


class Served(ServerProcess):
    """The cloud's HTTP on an embedded database, without peppers."""

    def command(self) -> Sequence[str]:
        settings = {
            "DATA_FOLDER": self.folder,
            "HTTP_PORT": self.port,
            "LOG_FORMAT": "json",
            "METRICS_TOKEN": TOKEN,
        }
        environment = [f"TILLBOX_{name}={value}" for name, value in settings.items()]
        return ["/usr/bin/env", *environment, sys.executable, "-m", "tillbox", "cloud", "serve"]

    def get(self, path: str, **headers: str) -> httpx.Response:
        return httpx.get(f"http://{LOOPBACK}:{self.port}{path}", headers=headers, timeout=PATIENCE_S)

    def log(self) -> list[dict[str, str]]:
        return [json.loads(line) for line in self.log_path.read_text().splitlines()]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder: Path = tmp_path_factory.mktemp("serve")
    make_keyring(folder / "keys", now_ms=SystemClock().now_ms())
    upgrade(f"sqlite:///{folder / 'cloud.sqlite3'}")
    with Served("serve", folder=folder, start_timeout_s=PATIENCE_S) as running:
        yield running


def test_no_answer_says_what_serves_it(served: Served) -> None:
    for path in ("/health/live", "/api/v1/auth/me", "/nowhere"):
        answer = served.get(path)
        assert "server" not in answer.headers
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")


def test_monitoring_gets_its_figures_from_a_real_process(served: Served) -> None:
    answer = served.get("/metrics", Authorization=f"Bearer {TOKEN}")
    assert answer.status_code == 200
    assert "process_resident_memory_bytes" in answer.text
    assert "tillbox_database_up 1.0" in answer.text


def test_a_body_that_does_not_fit_ends_the_connection(served: Served) -> None:
    size = BODY_SIZE_MAX + 1
    head = f"POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n"
    with socket.create_connection((LOOPBACK, served.port), timeout=PATIENCE_S) as connection:
        connection.sendall(head.encode() + b"x" * size)
        answer = b""
        while piece := connection.recv(65_536):
            answer += piece
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"connection: close" in answer.lower()
    assert b'"code":"too_large"' in answer


def test_it_ends_at_a_signal_and_every_line_of_its_log_is_an_event(served: Served) -> None:
    served.stop()
    events = [line["event"] for line in served.log()]
    assert {"peppers_missing", "column_keys_missing", "mail_server_missing"} <= set(events)
    assert "cloud_ready" in events
    assert not [line for line in served.log() if line["level"] == "error"]
