"""Puts together by which ways this cloud delivers notices, and what it means that one could not be delivered."""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from cloud.db import run_read
from cloud.foundation import Cloud
from cloud.notifications.channels import Channel
from cloud.notifications.delivery_service import Deliverer, Sender
from cloud.notifications.push import PushKey, PushSender, push_rules
from cloud.notifications.sms import SandboxSms, SmsSender
from cloud.notifications.store import Notification
from cloud.payments import service as payment_service
from cloud.payments.notices import NoticeKind
from cloud.settings import SmsGatewayName
from cloud.wallets import customer_store


@dataclass(frozen=True, slots=True)
class PaymentConcern:
    """A request to confirm a payment is over with the payment's wait; if nobody can be told of it, it fails (S17).

    A customer who has asked for it in the meantime, by listing notices or payments, has been told.
    """

    def is_over(self, session: Session, notification: Notification, *, now_ms: int) -> bool:
        payment_id = _requested(notification)
        return payment_id is not None and not payment_service.is_waiting(session, payment_id, now_ms=now_ms)

    def give_up(self, session: Session, notification: Notification, *, now_ms: int) -> None:
        payment_id = _requested(notification)
        if payment_id is not None:
            payment_service.give_up(session, payment_id, now_ms=now_ms)


def make_deliverer(cloud: Cloud) -> Deliverer:
    """Return what delivers by the ways that are set up; raises ``PushKeyError``."""
    senders: dict[Channel, Sender] = {}
    key = PushKey.load(cloud.settings.push_key_file)
    if key is not None:
        senders[Channel.PUSH] = PushSender(cloud.engine, cloud.clock, key, push_rules(cloud.settings))
    match cloud.settings.sms_gateway:
        case SmsGatewayName.SANDBOX:
            senders[Channel.SMS] = SmsSender(SandboxSms(), lambda recipient: _find_phone(cloud, recipient))
        case SmsGatewayName.NONE:
            pass
    return Deliverer(cloud.engine, cloud.clock, senders, PaymentConcern())


def _requested(notification: Notification) -> str | None:
    """Return the payment that this notice asks to confirm, if it asks for one."""
    notice = notification.notice
    payment_id = dict(notice.data).get("payment_id")
    return payment_id if notice.kind == NoticeKind.REQUESTED and isinstance(payment_id, str) else None


def _find_phone(cloud: Cloud, wallet_id: str) -> str | None:
    found = run_read(cloud.engine, lambda session: customer_store.wallets_by_id(session, [wallet_id]))
    return found[wallet_id].phone if wallet_id in found else None
