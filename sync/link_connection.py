"""One MQTT connection: from looking up the name to its end, with everything that waits on it.

Paho is driven by the event loop, not by its thread: one thread fewer to share state with, a socket number above 1 023
does not hang it, and what connecting fails with is at hand as an exception.
"""

import asyncio
import logging
import socket
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from sync.backoff import Backoff
from sync.errors import LinkAwayError, LinkFault, LinkSetupError, PublishRefusedError

_log = logging.getLogger(__name__)
T = TypeVar("T")

PUBLISH_TIMEOUT_S = 20.0
RECEIVE_MAX = 200
"""Messages of QoS 1 that we ask the broker to have open with us at most."""
UNACKNOWLEDGED_MAX = 10_000
"""What ends the connection: as many as the broker queues for one client (``cloud/fleet/broker_access.py``).

Mosquitto 2.0 keeps to what we ask only until the first acknowledgement: of 600 queued messages it then sends 540 at
once. Whoever takes that for a fault loses all of them, at the very moment when a fleet comes back.
"""
PUBLISH_WINDOW_MAX = 100
"""Messages that we have open with the broker, or fewer if it asks for fewer."""
PUBLISH_OVERHEAD = 16
"""Bytes that MQTT adds to topic and payload, at most, with the properties we use."""

PROTOCOL_ERROR = 130
SESSION_TAKEN_OVER = 142
PACKET_TOO_LARGE = 149
"""MQTT v5 reason codes (§2.4)."""


@dataclass(frozen=True, slots=True)
class LinkSettings:
    """Where and as whom to connect.

    ``client_id`` is the certificate's name, so that the broker sees the same client under one identity only. Without
    a certificate only a broker that asks for none lets us in. ``subscriptions`` are (filter, QoS) and MAY be shared
    (``$share/…``). ``will`` is (topic, payload), published retained by the broker when the link dies. A dead link is
    noticed within twice ``keepalive_s``. ``connect_timeout_s`` is for reaching the broker, and again for each answer.
    """

    host: str
    port: int
    ca_file: Path
    certificate_file: Path | None
    key_file: Path | None
    client_id: str
    subscriptions: Sequence[tuple[str, int]] = ()
    keepalive_s: int = 5
    connect_timeout_s: float = 5.0
    session_expiry_s: int = 0
    will: tuple[str, bytes] | None = None
    backoff: Backoff = field(default_factory=lambda: Backoff(first_ms=500, most_ms=30_000))


@dataclass(frozen=True, slots=True)
class Received:
    """One message; ``acknowledge`` takes it off the broker, and does nothing after its connection is gone."""

    topic: str
    payload: bytes
    _connection: "Connection"
    _open: "_Open | None"

    @property
    def is_certain(self) -> bool:
        """Whether the broker sends it again if it is not acknowledged (QoS 1)."""
        return self._open is not None

    def acknowledge(self) -> None:
        if self._open is not None:
            self._connection.acknowledge(self._open)


@dataclass(slots=True)
class _Open:
    """A message that the broker still holds for us; ``mid`` is free for another one after its acknowledgement."""

    mid: int
    is_done: bool = False


class DisconnectedError(Exception):
    """There is no connection, or none any more; the text says why."""

    def __init__(self, fault: LinkFault, detail: str = "") -> None:
        super().__init__(fault.in_words(detail))
        self.fault = fault


class Connection:
    """One connection; ``tell`` gets what arrives, in order."""

    def __init__(self, settings: LinkSettings, tls: ssl.SSLContext, tell: Callable[[Received], None]) -> None:
        self._settings = settings
        self._tell = tell
        self._loop = asyncio.get_running_loop()
        self._lost: asyncio.Future[None] = self._loop.create_future()
        self._connected: asyncio.Future[tuple[ReasonCode, Properties]] = self._loop.create_future()
        self._subscribed: asyncio.Future[list[ReasonCode]] = self._loop.create_future()
        self._publishing: dict[int, asyncio.Future[ReasonCode]] = {}
        self._window = asyncio.Semaphore(PUBLISH_WINDOW_MAX)
        self._packet_size_max = 0
        self._early: list[Received] | None = []
        self._unacknowledged: deque[_Open] = deque()
        self._socket: _LinkSocket | None = None
        self._ticking: asyncio.TimerHandle | None = None
        self._is_closed = False
        self._client = _make_client(settings, tls)

    async def open(self) -> None:
        """Connect and subscribe; raises ``DisconnectedError``."""
        try:
            await asyncio.to_thread(self._connect)
        except (OSError, ValueError) as error:
            raise _refusal(error) from error
        self._attach()
        reason, properties = await self._answer(self._connected)
        if reason.is_failure:
            raise DisconnectedError(LinkFault.CONNECTION_REFUSED, str(reason))
        self._packet_size_max = getattr(properties, "MaximumPacketSize", 0)
        self._window = asyncio.Semaphore(min(PUBLISH_WINDOW_MAX, getattr(properties, "ReceiveMaximum", 65_535)))
        if self._settings.subscriptions:
            filters = [(name, SubscribeOptions(qos=qos)) for name, qos in self._settings.subscriptions]
            self._client.subscribe(filters)
            if any(granted.is_failure for granted in await self._answer(self._subscribed)):
                raise DisconnectedError(LinkFault.SUBSCRIPTION_REFUSED)

    def deliver(self) -> None:
        """Hand over what came before the subscriptions stood, and from now on everything at once."""
        early, self._early = self._early or [], None
        for received in early:
            self._tell(received)

    async def lost(self) -> None:
        """Wait for the end of the connection; raises ``DisconnectedError`` with its reason."""
        await self._lost

    async def publish(self, topic: str, payload: bytes, *, qos: int, retain: bool) -> None:
        if self._packet_size_max and len(topic) + len(payload) + PUBLISH_OVERHEAD > self._packet_size_max:
            words = f"The message of {len(payload)} bytes is larger than the broker takes."
            raise PublishRefusedError(words, reason_code=PACKET_TOO_LARGE)
        try:
            async with asyncio.timeout(PUBLISH_TIMEOUT_S):
                await self._window.acquire()
                reason = await self._publish(topic, payload, qos=qos, retain=retain)
        except TimeoutError as error:
            raise LinkAwayError("The broker did not take the message in time.") from error
        if reason.is_failure:
            raise PublishRefusedError(f"The broker refused the message ({reason}).", reason_code=reason.value)

    async def _publish(self, topic: str, payload: bytes, *, qos: int, retain: bool) -> ReasonCode:
        info = None if self._is_closed else self._client.publish(topic, payload, qos=qos, retain=retain)
        if info is None or info.rc != mqtt.MQTT_ERR_SUCCESS:
            # The place goes to the next who waits, so that all of them learn it.
            self._window.release()
            raise LinkAwayError("The link went away while sending.")
        # Who stops waiting leaves its place in the window taken until the broker answers.
        taken: asyncio.Future[ReasonCode] = self._loop.create_future()
        self._publishing[info.mid] = taken
        return await taken

    def acknowledge(self, done: _Open) -> None:
        """Acknowledge in the order of arrival, as MQTT asks (v5 §4.6): one that is ahead waits for those before it."""
        done.is_done = True
        while self._unacknowledged and self._unacknowledged[0].is_done:
            first = self._unacknowledged.popleft()
            if not self._is_closed:
                self._client.ack(first.mid, 1)

    async def close(self) -> None:
        """Say good-bye if that is still possible, and give every resource back."""
        if not self._is_closed and self._connected.done():
            self._client.disconnect()
            self._client.loop_write()
        self._end(DisconnectedError(LinkFault.CONNECTION_LOST))
        for waiting in (self._lost, self._connected, self._subscribed):
            if waiting.done() and not waiting.cancelled():
                waiting.exception()
            waiting.cancel()

    def _connect(self) -> None:
        """Connect in a thread of its own, since looking up the name and the TLS handshake block."""
        settings, properties = self._settings, Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.ReceiveMaximum = RECEIVE_MAX
        if settings.session_expiry_s:
            properties.SessionExpiryInterval = settings.session_expiry_s
        self._client.connect(
            settings.host,
            settings.port,
            keepalive=settings.keepalive_s,
            clean_start=not settings.session_expiry_s,
            properties=properties,
        )
        if self._is_closed and (connected := self._client.socket()) is not None:
            connected.close()

    def _attach(self) -> None:
        """Let the event loop drive the client from here on."""
        client, connected = self._client, self._client.socket()
        if not isinstance(connected, _LinkSocket):
            raise DisconnectedError(LinkFault.CLOSED_UNANSWERED)
        self._socket = connected
        client.on_connect = lambda _c, _u, _f, reason, properties: _settle(self._connected, (reason, properties))
        client.on_subscribe = lambda _c, _u, _mid, reasons, _p: _settle(self._subscribed, reasons)
        client.on_publish = lambda _c, _u, mid, reason, _p: self._was_published(mid, reason)
        client.on_message = lambda _c, _u, message: self._was_received(message)
        client.on_disconnect = self._was_lost
        client.on_socket_close = lambda _c, _u, _socket: self._leave_loop()
        client.on_socket_register_write = lambda _c, _u, _socket: self._want_to_write()
        client.on_socket_unregister_write = lambda _c, _u, _socket: self._stop_writing()
        self._loop.add_reader(connected, self._run, self._read)
        if client.want_write():
            self._want_to_write()
        self._tick()

    def _want_to_write(self) -> None:
        if self._socket is not None and self._socket.fileno() >= 0:
            self._loop.add_writer(self._socket, self._run, self._write)

    def _stop_writing(self) -> None:
        if self._socket is not None and self._socket.fileno() >= 0:
            self._loop.remove_writer(self._socket)

    def _leave_loop(self) -> None:
        if self._socket is not None and self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)

    def _read(self) -> None:
        # What TLS has already decrypted is not announced by the socket a second time.
        while self._client.loop_read() == mqtt.MQTT_ERR_SUCCESS:
            if self._socket is None or not self._socket.pending():
                return

    def _write(self) -> None:
        self._client.loop_write()
        if not self._client.want_write():
            self._stop_writing()

    def _tick(self) -> None:
        self._ticking = self._loop.call_later(min(1.0, self._settings.keepalive_s / 4), self._tick)
        self._run(self._client.loop_misc)

    def _run(self, work: Callable[[], object]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - outermost frame: paho raises almost anything on malformed packets.
            _log.warning("link_protocol_broken error=%r", error)
            self._end(DisconnectedError(LinkFault.PROTOCOL_BROKEN))

    async def _answer(self, waiting: "asyncio.Future[T]") -> T:
        either: set[asyncio.Future[Any]] = {waiting, self._lost}
        timeout_s = self._settings.connect_timeout_s
        await asyncio.wait(either, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if waiting.done():
            return waiting.result()
        if self._lost.done():
            self._lost.result()
        raise DisconnectedError(LinkFault.NO_ANSWER)

    def _was_published(self, mid: int, reason: ReasonCode) -> None:
        self._window.release()
        future = self._publishing.pop(mid, None)
        if future is not None:
            _settle(future, reason)

    def _was_received(self, message: mqtt.MQTTMessage) -> None:
        if len(self._unacknowledged) >= UNACKNOWLEDGED_MAX:
            self._end(DisconnectedError(LinkFault.PROTOCOL_BROKEN, "more messages than it may send"))
            return
        opened = _Open(message.mid) if message.qos else None
        if opened is not None:
            self._unacknowledged.append(opened)
        received = Received(message.topic, bytes(message.payload), self, opened)
        if self._early is not None:
            self._early.append(received)
        else:
            self._tell(received)

    def _was_lost(
        self, _client: mqtt.Client, _data: object, flags: mqtt.DisconnectFlags, reason: ReasonCode, _properties: object
    ) -> None:
        detail = ""
        if flags.is_disconnect_packet_from_server:
            is_takeover = reason.value == SESSION_TAKEN_OVER
            fault, detail = (LinkFault.TAKEN_OVER, "") if is_takeover else (LinkFault.CLOSED_BY_BROKER, str(reason))
        elif reason.value == PROTOCOL_ERROR:
            fault = LinkFault.PROTOCOL_BROKEN
        elif self._connected.done():
            was_closed = self._socket is not None and self._socket.was_closed
            fault = LinkFault.CLOSED_BY_BROKER if was_closed else LinkFault.CONNECTION_LOST
        else:
            # In TLS 1.3 the broker's word on our certificate comes after the handshake, when we read its answer.
            detail = "" if self._socket is None else self._socket.alert
            fault = LinkFault.OWN_CERTIFICATE_REFUSED if detail else LinkFault.CLOSED_UNANSWERED
        self._end(DisconnectedError(fault, detail))

    def _end(self, error: DisconnectedError) -> None:
        """End the connection, once: everybody who waits for it learns that it is gone."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._ticking is not None:
            self._ticking.cancel()
        if not self._lost.done():
            self._lost.set_exception(error)
        for future in self._publishing.values():
            if not future.done():
                future.set_exception(LinkAwayError("The link went away while sending."))
        self._publishing.clear()
        self._window.release()
        self._leave_loop()
        if (connected := self._client.socket()) is not None:
            connected.close()


class _LinkSocket(ssl.SSLSocket):
    """A TLS socket that does what paho leaves out: closes after a failed handshake, and keeps how reading ended.

    ``alert`` is the broker's last word in TLS; ``was_closed`` says that it closed in order and did not just vanish.
    """

    alert = ""
    was_closed = False
    suppress_ragged_eofs: bool

    def do_handshake(self, block: bool = False) -> None:
        self.suppress_ragged_eofs = False
        try:
            super().do_handshake(block)
        except BaseException:
            self.close()
            raise

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        try:
            data = super().recv(buflen, flags)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError, ssl.SSLEOFError):
            raise
        except ssl.SSLError as error:
            self.alert = _spoken(error)
            raise
        self.was_closed = not data
        return data


def _make_client(settings: LinkSettings, tls: ssl.SSLContext) -> mqtt.Client:
    client = mqtt.Client(
        CallbackAPIVersion.VERSION2,
        client_id=settings.client_id,
        protocol=mqtt.MQTTv5,
        reconnect_on_failure=False,
        manual_ack=True,
    )
    client.tls_set_context(tls)
    client.connect_timeout = settings.connect_timeout_s
    # How much is under way is bounded here, where whoever publishes can wait for it.
    client.max_inflight_messages = 0
    if settings.will is not None:
        topic, payload = settings.will
        client.will_set(topic, payload, qos=1, retain=True)
    return client


def tls_context(settings: LinkSettings) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.sslsocket_class = _LinkSocket
    try:
        context.load_verify_locations(settings.ca_file)
        if settings.certificate_file is not None:
            context.load_cert_chain(settings.certificate_file, settings.key_file)
    except OSError as error:
        raise LinkSetupError("The link's certificate, key or CA file is missing or cannot be used.") from error
    return context


def _refusal(error: Exception) -> DisconnectedError:
    match error:
        case ssl.SSLCertVerificationError():
            return DisconnectedError(LinkFault.BROKER_NOT_TRUSTED, error.verify_message)
        case ssl.SSLEOFError() | ConnectionResetError():
            return DisconnectedError(LinkFault.CLOSED_UNANSWERED)
        case ssl.SSLError():
            return DisconnectedError(LinkFault.TLS_FAILED, _spoken(error))
        case socket.gaierror() | UnicodeError():
            return DisconnectedError(LinkFault.NAME_NOT_FOUND)
        case ConnectionRefusedError():
            return DisconnectedError(LinkFault.NOTHING_LISTENS)
        case TimeoutError():
            return DisconnectedError(LinkFault.NO_ANSWER)
        case _:
            return DisconnectedError(LinkFault.NETWORK_NOT_REACHED, str(error))


def _spoken(error: ssl.SSLError) -> str:
    return (error.reason or "unknown").lower().replace("_", " ")


def _settle(future: "asyncio.Future[T]", value: T) -> None:
    if not future.done():
        future.set_result(value)
