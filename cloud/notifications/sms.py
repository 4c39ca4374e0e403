"""Text messages: the port to a gateway, and a sandbox that writes to the log instead of sending.

A text message is what is left when no push arrives, so it says little: whoever sees the phone's lock screen sees it.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from cloud.notifications.channels import Sent
from cloud.notifications.store import Notification

_log = logging.getLogger(__name__)

SHOWN_DIGITS = 3


class SmsGateway(Protocol):
    """Sends text messages; raises ``OSError`` where it cannot be reached or refuses."""

    def send(self, phone: str, text: str) -> None: ...


class SandboxSms:
    """Sends nothing: one line in the log, with a number that names nobody."""

    def send(self, phone: str, text: str) -> None:
        """Write it to the log."""
        _log.info("sandbox_sms to=%s characters=%d", masked(phone), len(text))


@dataclass(frozen=True, slots=True)
class SmsSender:
    """Sends notices as text messages to the number that the recipient has."""

    gateway: SmsGateway
    find_phone: Callable[[str], str | None]

    def __call__(self, notification: Notification) -> Sent:
        """Send title and body."""
        phone = self.find_phone(notification.notice.recipient)
        if phone is None:
            return Sent.NO_ADDRESS
        try:
            self.gateway.send(phone, f"{notification.notice.title}: {notification.notice.body}")
        except OSError as error:
            _log.warning("sms_failed to=%s error=%s", masked(phone), type(error).__name__)
            return Sent.FAILED
        return Sent.TAKEN


def masked(phone: str) -> str:
    """Return a phone number of which only the last three digits can be read."""
    return "*" * max(0, len(phone) - SHOWN_DIGITS) + phone[-SHOWN_DIGITS:]
