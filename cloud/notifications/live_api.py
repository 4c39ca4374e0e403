"""The live channel: what somebody is told, on their screen at the moment it is committed.

``GET /api/v1/live`` as a WebSocket; every message is one JSON object.

    client, first   {"token": TEXT, "last_event_id": ID}   both may be missing: a browser's cookie counts, too
    server          {"event": "connection.ready", "channels": [...], "heartbeat_s": N}
    server          {"event": "payment.request" | "payment.status" | "notice", "id": ID, "channel": NAME, ...}
    server          {"event": "heartbeat", "at_ms": N}
    client          {"got": ID}     the screen has it: it need not be delivered by another way

With ``last_event_id`` everything since that event comes first, read from the database. An event may come twice, under
the same id, and events of one moment in any order: what was committed late is not left out. Closing codes: 4400 a
message that cannot be read, 4401 not signed in, 4403 a page of another site, 4408 silent or too slow, 4429 too many.
"""

import asyncio
import json
import logging
from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from pydantic import Field, ValidationError
from sqlalchemy import Engine

from cloud.db import run_read
from cloud.errors import DatabaseError
from cloud.http_access import TOKEN_COOKIE, Access
from cloud.http_errors import API_PREFIX, ApiError, StrictBody
from cloud.live import Hub, Listener
from cloud.notifications import store
from cloud.notifications.api import recipients_of
from cloud.notifications.channels import Channel
from cloud.notifications.delivery_service import note_taken
from cloud.notifications.store import Notification
from cloud.permissions import Permission, SignedIn
from cloud.rate_limit import PERSON
from sync.clock import Clock

_log = logging.getLogger(__name__)

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})

MESSAGE_LENGTH_MAX = 1_000
CONNECTIONS_MAX = 10
"""Connections that one login may have to one process."""
EVENTS_READ_MAX = 100
FRESH_MS = 120_000
"""How far back a screen is told that names no last event: what could still be answered."""
OVERLAP_MS = 30_000
"""How much later than its own time a notice may be committed and still be shown."""


@dataclass(frozen=True, slots=True)
class LivePace:
    """Times of one connection, seconds."""

    first_message_s: float = 10.0
    heartbeat_s: float = 20.0
    send_s: float = 10.0


@dataclass(frozen=True, slots=True)
class LiveApi:
    """What the channel needs."""

    engine: Engine
    clock: Clock
    access: Access
    hub: Hub
    pace: LivePace = LivePace()
    open: Counter[str] = field(default_factory=Counter)
    """Connections by login."""


class _First(StrictBody):
    token: str | None = Field(default=None, max_length=200)
    last_event_id: str | None = Field(default=None, max_length=64)


class _Got(StrictBody):
    got: str = Field(max_length=64)


class _Closed(Exception):  # noqa: N818 - an end, and mostly no error.
    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


def make_router(api: LiveApi) -> APIRouter:
    """Make the one route."""
    router = APIRouter(prefix=API_PREFIX)

    @router.websocket("/live")
    async def live(socket: WebSocket) -> None:
        await socket.accept()
        try:
            await _serve(api, socket)
        except _Closed as end:
            await socket.close(end.code, end.reason)
        except DatabaseError as error:
            _log.info("live_without_database code=%s", error.code)
            await socket.close(1013, "try again later")
        except WebSocketDisconnect:
            pass

    return router


async def _serve(api: LiveApi, socket: WebSocket) -> None:
    first, token = await _read_first(api, socket)
    person = await _find_person(api, token)
    if api.open[person.login_id] >= CONNECTIONS_MAX:
        raise _Closed(4429, "too many connections")
    api.open[person.login_id] += 1
    try:
        with api.hub.listening(recipients_of(person)) as listener:
            screen = _Screen(api, socket, token, person, listener)
            await _until_one_ends(screen.show(first.last_event_id), _take_receipts(api, socket, person))
    finally:
        api.open[person.login_id] -= 1
        if not api.open[person.login_id]:
            del api.open[person.login_id]


async def _read_first(api: LiveApi, socket: WebSocket) -> tuple[_First, str]:
    """Read who connects; raises ``_Closed``."""
    try:
        async with asyncio.timeout(api.pace.first_message_s):
            first = _read(_First, await _receive(socket))
    except TimeoutError as error:
        raise _Closed(4408, "send the first message at once") from error
    if first.token is not None:
        return first, first.token
    token = socket.cookies.get(TOKEN_COOKIE)
    if token is None:
        raise _Closed(4401, "log in first")
    # A browser sends the cookie for any page; only the origin says whose page it is.
    if not is_own_page(socket.headers.get("origin", ""), host=socket.headers.get("host", "")):
        raise _Closed(4403, "this is not a page of ours")
    return first, token


def is_own_page(origin: str, *, host: str) -> bool:
    """Tell whether a page of ours connects: from the same host, by https, or on this very machine."""
    try:
        page = urlsplit(origin)
        is_safe = page.scheme == "https" or (page.scheme == "http" and page.hostname in _LOOPBACK)
    except ValueError:
        return False
    return is_safe and page.netloc == host


async def _find_person(api: LiveApi, token: str) -> SignedIn:
    person = await asyncio.to_thread(api.access.find_session, token)
    if person is None or not person.scopes(Permission.OWN_ACCOUNT):
        raise _Closed(4401, "log in first")
    try:
        await asyncio.to_thread(api.access.require_rate, PERSON, person.login_id)
    except ApiError as error:
        raise _Closed(4429, "too many requests") from error
    return person


async def _take_receipts(api: LiveApi, socket: WebSocket, person: SignedIn) -> None:
    own = recipients_of(person)
    while True:
        got = _read(_Got, await _receive(socket)).got
        now_ms = api.clock.now_ms()
        if await asyncio.to_thread(run_read, api.engine, lambda s, got=got: store.find_notification(s, own, got)):
            await asyncio.to_thread(note_taken, api.engine, [got], Channel.LIVE, now_ms=now_ms)


@dataclass
class _Screen:
    """One connection's sending half; it holds no events, only which of the last moments' it has sent."""

    api: LiveApi
    socket: WebSocket
    token: str
    person: SignedIn
    listener: Listener
    sent: dict[str, int] = field(default_factory=dict)
    since_ms: int = 0

    async def show(self, last_event_id: str | None) -> None:
        """Send everything since the last event, then what comes, until the session ends."""
        await self._begin(last_event_id)
        loop = asyncio.get_running_loop()
        beat_at_s = loop.time() + self.api.pace.heartbeat_s
        while True:
            # Cleared before looking: who is told after that sets it again.
            self.listener.news.clear()
            await self._send_news()
            if loop.time() >= beat_at_s:
                await self._beat()
                beat_at_s = loop.time() + self.api.pace.heartbeat_s
            wait_s = min(self.api.hub.poll_s, max(0.0, beat_at_s - loop.time()))
            try:
                async with asyncio.timeout(wait_s):
                    await self.listener.news.wait()
            except TimeoutError:
                pass

    async def _begin(self, last_event_id: str | None) -> None:
        self.since_ms = self.api.clock.now_ms() - FRESH_MS
        if last_event_id is not None:
            last = await self._read(lambda session: store.find_notification(session, self._own, last_event_id))
            if last is not None:
                self.since_ms = last.notice.created_at_ms - OVERLAP_MS
                self.sent[last_event_id] = last.notice.created_at_ms
        channels = sorted(map(_channel, self._own))
        await self._send({"event": "connection.ready", "channels": channels, "heartbeat_s": self.api.pace.heartbeat_s})

    async def _send_news(self) -> None:
        after = (self.since_ms, "")
        while True:
            found = await self._read(
                lambda session, after=after: store.list_since(session, self._own, after=after, rows_max=EVENTS_READ_MAX)
            )
            for each in found:
                if each.notification_id not in self.sent:
                    await self._send(self._event(each))
                    self.sent[each.notification_id] = each.notice.created_at_ms
            if len(found) < EVENTS_READ_MAX:
                break
            after = (found[-1].notice.created_at_ms, found[-1].notification_id)
        self.since_ms = max([self.since_ms, *(at_ms - OVERLAP_MS for at_ms in self.sent.values())])
        self.sent = {each: at_ms for each, at_ms in self.sent.items() if at_ms >= self.since_ms}

    async def _beat(self) -> None:
        """Show that the line is alive, and look whether the session is."""
        person = await asyncio.to_thread(self.api.access.find_session, self.token)
        if person is None or recipients_of(person) != self._own:
            raise _Closed(4401, "this session has ended")
        await self._send({"event": "heartbeat", "at_ms": self.api.clock.now_ms()})

    async def _send(self, message: dict[str, object]) -> None:
        try:
            async with asyncio.timeout(self.api.pace.send_s):
                await self.socket.send_text(json.dumps(message))
        except TimeoutError as error:
            raise _Closed(4408, "too slow; come back with the last event's id") from error

    async def _read(self, work: Any) -> Any:
        return await asyncio.to_thread(run_read, self.api.engine, work)

    @property
    def _own(self) -> frozenset[str]:
        return self.listener.recipients

    def _event(self, notification: Notification) -> dict[str, object]:
        notice = notification.notice
        is_payers = notice.recipient in self.person.scopes(Permission.OWN_WALLET)
        name = "payment.status" if notice.kind.startswith("payment_") else "notice"
        return {
            "event": "payment.request" if is_payers and notice.kind == "payment_requested" else name,
            "id": notification.notification_id,
            "channel": _channel(notice.recipient),
            "kind": notice.kind,
            "title": notice.title,
            "body": notice.body,
            "data": dict(notice.data),
            "created_at_ms": notice.created_at_ms,
        }


async def _until_one_ends(*halves: Any) -> None:
    """Run both halves until one ends, and raise what it raised."""
    tasks = [asyncio.ensure_future(half) for half in halves]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _receive(socket: WebSocket) -> str:
    message = await socket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1005))
    text = message.get("text")
    if not isinstance(text, str):
        raise _Closed(4400, "messages are text")
    return text


def _channel(recipient: str) -> str:
    return f"payment.{recipient}"


def _read(shape: Any, text: str) -> Any:
    if len(text) > MESSAGE_LENGTH_MAX:
        raise _Closed(4400, "this message is too long")
    try:
        return shape.model_validate_json(text)
    except ValidationError as error:
        raise _Closed(4400, "this message cannot be read") from error
