"""The link: MQTT v5 over TLS 1.3 with a client certificate, the only I/O in ``sync``.

One client object for each connection, and nothing queued between two of them: the outbox keeps what must not be lost,
and the engine sends again what was not acknowledged by the cloud. A message is taken from the broker only when whoever
got it says so (after the commit), and the broker holds back while too many wait.
"""

import asyncio
import logging
import random
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from sync.backoff import Backoff
from sync.errors import LinkAwayError, LinkSetupError, PublishRefusedError

_log = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 10.0
PUBLISH_TIMEOUT_S = 20.0
RECEIVE_MAX = 200
"""Messages of QoS 1 that the broker may have open with us: the bound of everything queued here."""
SESSION_TAKEN_OVER = 142
"""MQTT v5 reason code 0x8E: another client has connected under our name."""


@dataclass(frozen=True, slots=True)
class LinkSettings:
    """Where and as whom to connect. ``client_id`` is the certificate's name, so that two cannot differ.

    ``will`` is (topic, payload), published retained by the broker when the link dies. ``session_expiry_s`` above 0
    lets the broker keep what comes while we are away.
    """

    host: str
    port: int
    ca_file: Path
    certificate_file: Path
    key_file: Path
    client_id: str
    subscriptions: Sequence[tuple[str, int]] = ()
    keepalive_s: int = 30
    session_expiry_s: int = 0
    will: tuple[str, bytes] | None = None
    backoff: Backoff = field(default_factory=lambda: Backoff(first_ms=500, most_ms=30_000))


@dataclass(frozen=True, slots=True)
class Up:
    """Connected, and every subscription granted."""


@dataclass(frozen=True, slots=True)
class Down:
    """Not connected, with the reason in words."""

    words: str


@dataclass(frozen=True, slots=True)
class Received:
    """One message; ``acknowledge`` takes it off the broker, once, and does nothing after the connection is gone."""

    topic: str
    payload: bytes
    _connection: "_Connection"
    _mid: int
    _qos: int

    def acknowledge(self) -> None:
        self._connection.acknowledge(self._mid, self._qos)


LinkEvent = Up | Down | Received


class Link:
    """Keeps connected until closed; ``events`` tells in order what happens. One event loop uses it."""

    def __init__(self, settings: LinkSettings) -> None:
        self._settings = settings
        self._tls = _tls_context(settings)
        self._events: asyncio.Queue[LinkEvent] = asyncio.Queue()
        self._connection: _Connection | None = None
        self._keeping: asyncio.Task[None] | None = None
        self.takeover_count = 0
        self.problem = "not connected yet"

    @property
    def is_up(self) -> bool:
        return self._connection is not None

    async def __aenter__(self) -> Self:
        self._keeping = asyncio.create_task(self._keep_connected())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.wait((self._keeping,))

    async def events(self) -> AsyncIterator[LinkEvent]:
        """Give what happens, for ever; ends with the error that ended the link, should a bug do that."""
        while True:
            getting = asyncio.create_task(self._events.get())
            waits: set[asyncio.Task[Any]] = {getting}
            if self._keeping is not None:
                waits.add(self._keeping)
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                if not getting.done():
                    getting.cancel()
            if getting.done() and not getting.cancelled():
                yield getting.result()
            elif self._keeping is not None and self._keeping.done():
                self._keeping.result()
                return

    async def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> None:
        """Publish and wait until the broker has taken it; that is no receipt of the cloud's.

        Raises ``LinkAwayError`` where it was not taken, ``PublishRefusedError`` where the broker said no.
        """
        if self._connection is None:
            raise LinkAwayError(f"There is no link: {self.problem}.")
        await self._connection.publish(topic, payload, qos=qos, retain=retain)

    async def _keep_connected(self) -> None:
        failures = 0
        while True:
            connection = _Connection(self._settings, self._tls, self._events)
            try:
                await connection.open()
                self._connection, self.problem, failures = connection, "", 0
                self._events.put_nowait(Up())
                words = await connection.lost()
            except _NotConnectedError as error:
                words = str(error)
            finally:
                was_up, self._connection = self._connection is not None, None
                await connection.close()
            self.takeover_count += connection.was_taken_over
            failures += 1
            if was_up or words != self.problem:
                self._events.put_nowait(Down(words))
            self.problem = words
            _log.info("link_down reason=%s", words)
            delay_ms = self._settings.backoff.delay_ms(failures, jitter=random.random())  # noqa: S311 - no secret.
            await asyncio.sleep(delay_ms / 1000)


class _NotConnectedError(Exception):
    """The attempt failed; the text says why."""


class _Connection:
    """One connection, from connecting to its end. Paho's thread hands everything over to the event loop."""

    def __init__(self, settings: LinkSettings, tls: ssl.SSLContext, events: "asyncio.Queue[LinkEvent]") -> None:
        self._settings = settings
        self._events = events
        self._loop = asyncio.get_running_loop()
        self._connected: asyncio.Future[ReasonCode] = self._loop.create_future()
        self._subscribed: asyncio.Future[list[ReasonCode]] = self._loop.create_future()
        self._lost: asyncio.Future[str] = self._loop.create_future()
        self._publishing: dict[int, asyncio.Future[ReasonCode]] = {}
        self._is_closed = False
        self.was_taken_over = False
        self._client = self._make_client(tls)

    async def open(self) -> None:
        """Connect and subscribe; raises ``_NotConnectedError`` in words."""
        settings = self._settings
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await asyncio.to_thread(self._connect)
                self._client.loop_start()
                reason = await self._first(self._connected)
                if reason.is_failure:
                    raise _NotConnectedError(f"the broker refused the connection ({reason})")
                if settings.subscriptions:
                    self._client.subscribe(
                        [(name, SubscribeOptions(qos=qos)) for name, qos in settings.subscriptions]
                    )
                    granted = await self._first(self._subscribed)
                    if any(each.is_failure for each in granted):
                        raise _NotConnectedError("the broker does not let us subscribe; its access list is wrong")
        except TimeoutError as error:
            raise _NotConnectedError("the broker does not answer") from error
        except (OSError, ValueError) as error:
            raise _NotConnectedError(_words(error)) from error

    async def lost(self) -> str:
        """Wait for the end of the connection and return its reason in words."""
        return await self._lost

    async def publish(self, topic: str, payload: bytes, *, qos: int, retain: bool) -> None:
        info = self._client.publish(topic, payload, qos=qos, retain=retain)
        if info.rc != mqtt.MQTT_ERR_SUCCESS:
            raise LinkAwayError("The link went away while sending.")
        taken: asyncio.Future[ReasonCode] = self._loop.create_future()
        self._publishing[info.mid] = taken
        try:
            async with asyncio.timeout(PUBLISH_TIMEOUT_S):
                reason = await taken
        except TimeoutError as error:
            raise LinkAwayError("The broker did not take the message in time.") from error
        finally:
            self._publishing.pop(info.mid, None)
        if reason.is_failure:
            raise PublishRefusedError(f"The broker refused the message ({reason}).")

    def acknowledge(self, mid: int, qos: int) -> None:
        if not self._is_closed:
            self._client.ack(mid, qos)

    async def close(self) -> None:
        """Say good-bye if that is still possible, and give every resource back."""
        self._is_closed = True
        for future in self._publishing.values():
            if not future.done():
                future.set_exception(LinkAwayError("The link went away while sending."))
        for waiting in (self._connected, self._subscribed, self._lost):
            waiting.cancel()
        await asyncio.to_thread(self._tear_down)

    def _tear_down(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()
        # Paho leaves its wake-up sockets to the garbage collector; this closes them.
        self._client.reinitialise()

    def _connect(self) -> None:
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.ReceiveMaximum = RECEIVE_MAX
        if self._settings.session_expiry_s:
            properties.SessionExpiryInterval = self._settings.session_expiry_s
        self._client.connect(
            self._settings.host,
            self._settings.port,
            keepalive=self._settings.keepalive_s,
            clean_start=not self._settings.session_expiry_s,
            properties=properties,
        )

    def _make_client(self, tls: ssl.SSLContext) -> mqtt.Client:
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._settings.client_id,
            protocol=mqtt.MQTTv5,
            reconnect_on_failure=False,
            manual_ack=True,
        )
        client.tls_set_context(tls)
        client.connect_timeout = CONNECT_TIMEOUT_S / 2
        if self._settings.will is not None:
            topic, payload = self._settings.will
            client.will_set(topic, payload, qos=1, retain=True)
        client.on_connect = lambda _c, _u, _f, reason, _p: self._tell(self._connected, reason)
        client.on_subscribe = lambda _c, _u, _mid, reasons, _p: self._tell(self._subscribed, reasons)
        client.on_publish = lambda _c, _u, mid, reason, _p: self._hand_over(self._was_published, mid, reason)
        client.on_disconnect = lambda _c, _u, _f, reason, _p: self._hand_over(self._was_lost, reason)
        client.on_message = lambda _c, _u, message: self._hand_over(self._was_received, message)
        return client

    async def _first(self, waiting: "asyncio.Future[Any]") -> Any:
        """Wait for an answer, or for the connection to break before it came."""
        await asyncio.wait({waiting, self._lost}, return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            raise _NotConnectedError(self._lost.result())
        return waiting.result()

    def _tell(self, future: "asyncio.Future[Any]", value: object) -> None:
        self._hand_over(lambda: None if future.done() else future.set_result(value))

    def _hand_over(self, call: Any, *values: object) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(call, *values)

    def _was_published(self, mid: int, reason: ReasonCode) -> None:
        future = self._publishing.get(mid)
        if future is not None and not future.done():
            future.set_result(reason)

    def _was_received(self, message: mqtt.MQTTMessage) -> None:
        if not self._is_closed:
            received = Received(message.topic, bytes(message.payload), self, message.mid, message.qos)
            self._events.put_nowait(received)

    def _was_lost(self, reason: ReasonCode) -> None:
        self.was_taken_over = self.was_taken_over or reason.value == SESSION_TAKEN_OVER
        words = f"the broker closed the connection ({reason})"
        if not self._connected.done():
            words = "the broker closed the connection; it does not accept this certificate"
        if self.was_taken_over:
            words = "another client has connected with this identity"
        if not self._lost.done():
            self._lost.set_result(words)


def _tls_context(settings: LinkSettings) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        context.load_verify_locations(settings.ca_file)
        context.load_cert_chain(settings.certificate_file, settings.key_file)
    except (OSError, ssl.SSLError) as error:
        raise LinkSetupError("The link's certificate, key or CA file is missing or cannot be used.") from error
    return context


def _words(error: Exception) -> str:
    match error:
        case ssl.SSLCertVerificationError():
            return f"the broker's certificate is not the fleet's ({error.verify_message})"
        case ssl.SSLError():
            return "the broker and this machine cannot agree on TLS"
        case socket.gaierror():
            return "the broker's name is not found"
        case ConnectionRefusedError():
            return "nothing listens where the broker should be"
        case TimeoutError():
            return "the broker does not answer"
        case _:
            return "the network is not reached"
