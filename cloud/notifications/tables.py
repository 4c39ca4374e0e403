"""What somebody was told, when it was read, what of it is to be delivered, and the phones to which it is pushed.

The id is made of event and recipient, so that one event tells each side once, however often its transaction runs.
"""

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, String
from sqlmodel import Field

from cloud.db import MYSQL_OPTIONS, Base, fixed_bytes, one_of, table_of
from cloud.notifications.channels import Channel, DeliveryState
from cloud.notifications.notices import Reach

NOTIFICATION_ID_LENGTH = 25
RECIPIENT_LENGTH_MAX = 16
KIND_LENGTH_MAX = 32
TITLE_LENGTH_MAX = 120
BODY_LENGTH_MAX = 500
DATA_LENGTH_MAX = 1000
ENDPOINT_LENGTH_MAX = 1000


class NotificationRow(Base, table=True):
    """One notification; the recipient is a wallet's id, or a merchant's in hexadecimal."""

    __tablename__ = "notifications"
    __table_args__ = (Index(None, "recipient", "created_at_ms", "notification_id"), MYSQL_OPTIONS)

    notification_id: str = Field(sa_column=Column(String(NOTIFICATION_ID_LENGTH), primary_key=True))
    recipient: str = Field(sa_column=Column(String(RECIPIENT_LENGTH_MAX), nullable=False))
    kind: str = Field(sa_column=Column(String(KIND_LENGTH_MAX), nullable=False))
    title: str = Field(sa_column=Column(String(TITLE_LENGTH_MAX), nullable=False))
    body: str = Field(sa_column=Column(String(BODY_LENGTH_MAX), nullable=False))
    data_json: str = Field(sa_column=Column(String(DATA_LENGTH_MAX), nullable=False))
    created_at_ms: int = Field(sa_column=Column(BigInteger, nullable=False))
    read_at_ms: int | None = Field(default=None, sa_column=Column(BigInteger, nullable=True))


class DeliveryRow(Base, table=True):
    """One notice that is to reach somebody; written with it, and kept until it is long done with.

    ``next_try_ms`` is when it is due, or until when the try under way may last; until ``offered_until_ms`` it is taken
    to wait in the queue of jobs.
    """

    __tablename__ = "deliveries"
    __table_args__ = (
        one_of("reach", Reach),
        one_of("state", DeliveryState),
        one_of("channel", Channel),
        Index(None, "state", "next_try_ms"),
        Index(None, "state", "changed_at_ms", "notification_id"),
        MYSQL_OPTIONS,
    )

    notification_id: str = Field(
        sa_column=Column(String(NOTIFICATION_ID_LENGTH), ForeignKey("notifications.notification_id"), primary_key=True)
    )
    reach: str = Field(sa_column=Column(String(8), nullable=False))
    state: str = Field(sa_column=Column(String(16), nullable=False))
    channel: str | None = Field(default=None, sa_column=Column(String(8), nullable=True))
    tries: int = Field(sa_column=Column(Integer, nullable=False))
    next_try_ms: int = Field(sa_column=Column(BigInteger, nullable=False))
    offered_until_ms: int = Field(sa_column=Column(BigInteger, nullable=False))
    changed_at_ms: int = Field(sa_column=Column(BigInteger, nullable=False))


class PushSubscriptionRow(Base, table=True):
    """Where one browser takes what is pushed to a wallet; the key and the secret are the browser's (RFC 8291)."""

    __tablename__ = "push_subscriptions"
    __table_args__ = (Index(None, "recipient"), MYSQL_OPTIONS)

    endpoint_hash: bytes = Field(sa_column=Column(fixed_bytes(32), primary_key=True))
    recipient: str = Field(sa_column=Column(String(RECIPIENT_LENGTH_MAX), nullable=False))
    endpoint: str = Field(sa_column=Column(String(ENDPOINT_LENGTH_MAX), nullable=False))
    public_key: bytes = Field(sa_column=Column(fixed_bytes(65), nullable=False))
    auth_secret: bytes = Field(sa_column=Column(fixed_bytes(16), nullable=False))
    created_at_ms: int = Field(sa_column=Column(BigInteger, nullable=False))


NOTIFICATIONS = table_of(NotificationRow)
DELIVERIES = table_of(DeliveryRow)
PUSH_SUBSCRIPTIONS = table_of(PushSubscriptionRow)
