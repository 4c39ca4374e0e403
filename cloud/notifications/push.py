"""Web Push: encrypts a notice for one browser (RFC 8291), signs who sends it (RFC 8292), and posts it (RFC 8030).

The push service in between reads neither text nor amount. It is asked on the address that was checked, so that a name
which means another host a moment later reaches nobody; no redirect is followed, and little of the answer is read.
"""

import http.client
import json
import logging
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import http_ece
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from py_vapid import Vapid02, VapidException
from sqlalchemy import Engine

from cloud.db import run_read, run_transaction
from cloud.errors import PushKeyError
from cloud.notifications import push_store
from cloud.notifications.channels import Sent
from cloud.notifications.notices import Notice
from cloud.notifications.store import Notification
from cloud.notifications.subscriptions import PushSubscription, are_public, is_endpoint
from cloud.settings import CloudSettings
from sync.clock import Clock

_log = logging.getLogger(__name__)

DEADLINE_S = 4.0
"""How long one push service may take; five of them stay below the lease of a delivery."""
KEPT_FOR_S = 3600
"""How long a push service keeps a message for a phone that is off; after that the list tells it."""
CONTENT_SIZE_MAX = 3_000
"""Bytes of a message; every push service takes 4 096 of it encrypted."""
_TOKEN_LIFE_S = 3600


@dataclass(frozen=True, slots=True)
class PushRules:
    """Who sends, as push services see it, and whether trials may push to private addresses."""

    contact: str
    allow_private: bool = False
    deadline_s: float = DEADLINE_S


def push_rules(settings: CloudSettings) -> PushRules:
    """Return the rules that the settings give."""
    return PushRules(settings.push_contact, settings.push_allow_private)


@dataclass(frozen=True, slots=True)
class PushKey:
    """The key under which this cloud pushes; browsers take messages of no other."""

    vapid: Vapid02

    @classmethod
    def load(cls, file: Path) -> "PushKey | None":
        """Read the key; None where there is none, raises ``PushKeyError`` where it cannot be read."""
        try:
            return cls(Vapid02.from_pem(file.read_bytes()))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, VapidException) as error:
            raise PushKeyError(f"the push key in {file} cannot be read") from error

    @property
    def public(self) -> bytes:
        """Return the public key as browsers want it: the uncompressed point."""
        point: bytes = self.vapid.public_key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        return point


@dataclass(frozen=True, slots=True)
class PushSender:
    """Pushes a notice to every browser of its recipient, and forgets those that are gone."""

    engine: Engine
    clock: Clock
    key: PushKey
    rules: PushRules
    resolve: Callable[[str, int], list[str]] = field(default=lambda host, port: _resolve(host, port))

    def __call__(self, notification: Notification) -> Sent:
        """Push; one browser that took it is enough."""
        recipient = notification.notice.recipient
        found = run_read(self.engine, lambda session: push_store.subscriptions_of(session, recipient))
        sent = [self._push(each, notification) for each in found]
        if Sent.TAKEN in sent:
            return Sent.TAKEN
        return Sent.FAILED if Sent.FAILED in sent else Sent.NO_ADDRESS

    def _push(self, subscription: PushSubscription, notification: Notification) -> Sent:
        try:
            status = self._post(subscription, encrypt(subscription, content_of(notification)))
        except (OSError, http.client.HTTPException) as error:
            _log.info("push_failed id=%s error=%s", notification.notification_id, type(error).__name__)
            return Sent.FAILED
        if status in (404, 410):
            run_transaction(
                self.engine,
                lambda session: push_store.remove_subscription(session, subscription),
                lookup=lambda _session: None,
            )
            _log.info("push_subscription_gone id=%s", subscription.subscription_id)
            return Sent.NO_ADDRESS
        _log.info("push_answered id=%s status=%d", notification.notification_id, status)
        return Sent.TAKEN if 200 <= status < 300 else Sent.FAILED

    def _post(self, subscription: PushSubscription, body: bytes) -> int:
        """Post the message; raises ``OSError`` where the address may not be asked."""
        if not is_endpoint(subscription.endpoint, allow_private=self.rules.allow_private):
            raise PermissionError("not an address to push to")
        parts = urlsplit(subscription.endpoint)
        host, is_tls = parts.hostname or "", parts.scheme == "https"
        port = parts.port or (443 if is_tls else 80)
        addresses = self.resolve(host, port)
        if not self.rules.allow_private and not are_public(addresses):
            raise PermissionError("a private address")
        connection = _Connection(host, port, addresses[0], is_tls=is_tls, deadline_s=self.rules.deadline_s)
        target = parts.path or "/"
        headers = self._headers(f"{parts.scheme}://{parts.netloc}")
        with connection.ended_in_time():
            connection.request("POST", f"{target}?{parts.query}" if parts.query else target, body, headers)
            return connection.getresponse().status

    def _headers(self, origin: str) -> dict[str, str]:
        expires_s = self.clock.now_ms() // 1000 + _TOKEN_LIFE_S
        signed: dict[str, str] = self.key.vapid.sign({"aud": origin, "exp": expires_s, "sub": self.rules.contact})
        fixed = {"Content-Encoding": "aes128gcm", "TTL": str(KEPT_FOR_S), "Urgency": "high"}
        return signed | fixed | {"Content-Type": "application/octet-stream"}


class _Connection(http.client.HTTPConnection):
    """A connection to the one address that was checked, under the name that the certificate must be for."""

    def __init__(self, host: str, port: int, address: str, *, is_tls: bool, deadline_s: float) -> None:
        super().__init__(host, port, timeout=deadline_s)
        self.default_port = 443 if is_tls else 80
        self._deadline_s = deadline_s
        self._address = address
        self._is_tls = is_tls

    def connect(self) -> None:
        """Connect to the address, and not to what the name means by now."""
        self.sock = socket.create_connection((self._address, self.port), timeout=self._deadline_s)
        if self._is_tls:
            self.sock = ssl.create_default_context().wrap_socket(self.sock, server_hostname=self.host)

    def ended_in_time(self) -> "_Deadline":
        """Cut the connection after the deadline, however slowly the other side goes on talking."""
        return _Deadline(self, self._deadline_s)


class _Deadline:
    def __init__(self, connection: _Connection, deadline_s: float) -> None:
        self._connection = connection
        self._timer = threading.Timer(deadline_s, self._cut)
        self._timer.daemon = True

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        self._connection.close()

    def _cut(self) -> None:
        opened = self._connection.sock
        if opened is not None:
            try:
                opened.shutdown(socket.SHUT_RDWR)
            except OSError:
                # It has ended by itself.
                return


def content_of(notification: Notification) -> bytes:
    """Return what the phone's service worker gets, as JSON; what is too long loses what only programs read."""
    notice = notification.notice
    full = _spell(notification, notice, data=dict(notice.data))
    return full if len(full) <= CONTENT_SIZE_MAX else _spell(notification, notice, data={})


def encrypt(subscription: PushSubscription, content: bytes) -> bytes:
    """Encrypt for one browser, under a key that is used once."""
    encrypted: bytes = http_ece.encrypt(
        content,
        private_key=ec.generate_private_key(ec.SECP256R1()),
        dh=subscription.public_key,
        auth_secret=subscription.auth_secret,
        version="aes128gcm",
    )
    return encrypted


def _spell(notification: Notification, notice: Notice, *, data: dict[str, str | int]) -> bytes:
    said = {"id": notification.notification_id, "kind": notice.kind, "title": notice.title, "body": notice.body}
    return json.dumps(said | {"data": data}, ensure_ascii=False, separators=(",", ":")).encode()


def _resolve(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[4][0]) for address in found]
