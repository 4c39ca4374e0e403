"""The log: one event a line, as text for people or as JSON for machines, with the id of the request it belongs to.

A message begins with the stable name of its event, followed by ids and numbers; never by a code, PIN, key or body.
"""

import json
import logging
from contextvars import ContextVar
from datetime import UTC, datetime
from enum import StrEnum
from typing import TextIO

REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")
"""The request that is being answered here; set at the door, and taken along into the route's thread."""

_TEXT = "%(asctime)s %(levelname)s %(name)s %(message)s"
_RAISED_AGAIN = "Exception in ASGI application"


class LogFormat(StrEnum):
    """How a line of the log looks."""

    TEXT = "text"
    JSON = "json"


class JsonLines(logging.Formatter):
    """Writes each event as one JSON object on one line, whatever is in it."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {
            "time": at.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": event_of(record),
            "message": record.getMessage(),
        }
        request_id = REQUEST_ID.get()
        if request_id:
            line["request_id"] = request_id
        if record.exc_info and record.exc_info[0] is not None:
            line["error"] = record.exc_info[0].__name__
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line)


def set_up(log_format: LogFormat, stream: TextIO | None = None) -> None:
    """Log from now on in that format, to the standard error unless told otherwise."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines() if log_format is LogFormat.JSON else logging.Formatter(_TEXT))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    # Alembic's and the HTTP server's own chatter says nothing that an operator acts on.
    for name in ("alembic", "uvicorn.access"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # What goes wrong in a route is logged by us, with its request id; the server would log it once more.
    logging.getLogger("uvicorn.error").addFilter(_is_said_once)


def event_of(record: logging.LogRecord) -> str:
    """Return the event's stable name; of other people's lines the logger's."""
    name = str(record.msg).split(maxsplit=1)[0] if str(record.msg).strip() else ""
    return name if name.replace("_", "").isalnum() and name.islower() and "_" in name else record.name


def _is_said_once(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith(_RAISED_AGAIN)
