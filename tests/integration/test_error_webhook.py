"""The webhook of error reports over real HTTP: what arrives, and what happens where nobody listens."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from cloud.error_reports import ErrorReport, Webhook
from demo.processes import free_port

REPORT = ErrorReport("tillbox cloud serve", 1, "request_failed", "ValueError", "api.py:pay:7", "0123456789abcdef", 2)


class Server(ThreadingHTTPServer):
    """Keeps what is posted to it."""

    def __init__(self, status: int) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.status = status
        self.taken: list[tuple[str, object]] = []


class Handler(BaseHTTPRequestHandler):
    """Answers every post with the server's status."""

    def do_POST(self) -> None:
        assert isinstance(self.server, Server)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.taken.append((self.headers["Content-Type"], json.loads(body)))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *_arguments: object) -> None: ...


@pytest.fixture(params=[200, 500])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    made = Server(request.param)
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


def test_a_report_arrives_as_json_with_a_text_for_chats(server: Server) -> None:
    webhook = Webhook(f"http://127.0.0.1:{server.server_port}/hook")
    if server.status == 200:
        webhook(REPORT)
    else:
        with pytest.raises(OSError, match="500"):
            webhook(REPORT)
    ((content_type, body),) = server.taken
    assert content_type == "application/json"
    assert body == {
        "text": "tillbox cloud serve: request_failed (ValueError) at api.py:pay:7",
        "service": "tillbox cloud serve",
        "at_ms": 1,
        "event": "request_failed",
        "error": "ValueError",
        "place": "api.py:pay:7",
        "request_id": "0123456789abcdef",
        "untold_count": 2,
    }


def test_where_nobody_listens_it_is_an_error_of_the_system() -> None:
    with pytest.raises(OSError, match="refused"):
        Webhook(f"http://127.0.0.1:{free_port()}/hook")(REPORT)
