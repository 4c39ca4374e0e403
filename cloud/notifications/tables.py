"""What somebody was told, and when it was read: the outbox from which every way of delivery takes.

The id is made of event and recipient, so that one event tells each side once, however often its transaction runs.
"""

from sqlalchemy import BigInteger, Column, Index, String
from sqlmodel import Field

from cloud.db import MYSQL_OPTIONS, Base, table_of

NOTIFICATION_ID_LENGTH = 25
RECIPIENT_LENGTH_MAX = 16
KIND_LENGTH_MAX = 32
TITLE_LENGTH_MAX = 120
BODY_LENGTH_MAX = 500
DATA_LENGTH_MAX = 1000


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


NOTIFICATIONS = table_of(NotificationRow)
