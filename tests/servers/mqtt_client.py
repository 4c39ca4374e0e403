"""A small MQTT v5 client for tests: it collects what happens to it and waits for conditions instead of sleeping."""

import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from demo.processes import LOOPBACK

PATIENCE_S = 10.0


class MqttClient:
    """Connects on entering and disconnects on leaving; ``drop`` leaves without a word, so that the last will is sent.

    ``messages`` holds what arrived; ``published`` and ``refused`` count answers to publishing; ``connected`` is the
    reason text of the last connect, None before any.
    """

    def __init__(self, client_id: str, *, port: int, will: tuple[str, bytes] | None = None) -> None:
        self.messages: list[MQTTMessage] = []
        self.connected: str | None = None
        self.session_present = False
        self.published = 0
        self.refused = 0
        self._port = port
        self._changed = threading.Condition()
        self._granted = 0
        self._client = Client(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=MQTTProtocolVersion.MQTTv5)
        if will is not None:
            self._client.will_set(will[0], will[1], qos=1, retain=True)
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_message = self._on_message
        self._client.on_publish = self._on_publish
        self._client.on_subscribe = self._on_subscribe

    def use_tls(self, *, ca: Path, certificate: Path | None = None, key: Path | None = None) -> Self:
        """Speak TLS 1.3, with a client certificate where one is given."""
        context = ssl.create_default_context(cafile=ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        if certificate is not None:
            context.load_cert_chain(certificate, key)
        self._client.tls_set_context(context)
        return self

    def connect(self, *, clean_start: bool = True, session_expiry_s: int = 0) -> Self:
        """Connect and wait for the broker's word; raises ``ConnectionError`` when it does not come."""
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call] # paho has no types here
        properties.SessionExpiryInterval = session_expiry_s
        self._client.connect(LOOPBACK, self._port, clean_start=clean_start, properties=properties)
        self._client.loop_start()
        self.wait_until(lambda: self.connected is not None)
        if self.connected != "Success":
            self.drop()
            raise ConnectionError(f"the broker refused: {self.connected}")
        return self

    def subscribe(self, topic: str) -> None:
        """Subscribe at QoS 1 and wait until it is granted."""
        before = self._granted
        self._client.subscribe(topic, qos=1)
        self.wait_until(lambda: self._granted > before)

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Publish at QoS 1 and wait for the broker's answer, good or bad."""
        before = self.published + self.refused
        self._client.publish(topic, payload, qos=1, retain=retain)
        self.wait_until(lambda: self.published + self.refused > before)

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait until something that happened makes ``condition`` true; raises ``TimeoutError``."""
        with self._changed:
            if not self._changed.wait_for(condition, PATIENCE_S):
                raise TimeoutError(f"not within {PATIENCE_S} s; got {self.payloads()}")

    def payloads(self) -> list[bytes]:
        return [bytes(message.payload) for message in self.messages]

    def disconnect(self) -> None:
        """Say good-bye; safe to call twice."""
        self._client.disconnect()
        self._release()

    def drop(self) -> None:
        """Go away without good-bye, as when power fails."""
        self._release()

    def __enter__(self) -> Self:
        return self if self.connected is not None else self.connect()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.disconnect()

    def _release(self) -> None:
        self._client.loop_stop()
        # The one public way to close paho's own pair of sockets, which it leaves to the garbage collector.
        self._client.reinitialise()

    def _on_connect(self, client: Client, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        self.session_present = flags.session_present
        self._tell(lambda: setattr(self, "connected", str(reason)))

    def _on_disconnect(self, client: Client, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        # Before any answer it is one: the broker closed the connection instead.
        self._tell(lambda: setattr(self, "connected", self.connected or f"disconnected, {reason}"))

    def _on_message(self, client: Client, data: Any, message: MQTTMessage) -> None:
        self._tell(lambda: self.messages.append(message))

    def _on_publish(self, client: Client, data: Any, number: int, reason: Any, properties: Any) -> None:
        name = "refused" if reason.is_failure else "published"
        self._tell(lambda: setattr(self, name, getattr(self, name) + 1))

    def _on_subscribe(self, client: Client, data: Any, number: int, reasons: Any, properties: Any) -> None:
        self._tell(lambda: setattr(self, "_granted", self._granted + 1))

    def _tell(self, change: Callable[[], object]) -> None:
        with self._changed:
            change()
            self._changed.notify_all()
