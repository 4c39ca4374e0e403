"""Grants: the cloud's promise that a phone's key may pay up to a limit without asking (design, "What is signed").

A grant without device key is what a session code shows: online only, spent once, five minutes long.
"""

from dataclasses import dataclass

from sync.envelope import SignedType
from sync.ids import KeyId, Serial
from sync.layout import Layout, currency, data, uint
from sync.message import MessageKind


@dataclass(frozen=True, slots=True)
class Grant:
    """What the cloud grants: times in Unix seconds to keep the code small, amounts in minor units.

    ``device_key`` is the phone's public key, fresh for each grant, or empty in a session code.
    """

    key_id: KeyId
    serial: Serial
    device_key: bytes
    issued_s: int
    lifetime_s: int
    limit_minor: int
    total_minor: int
    currency: str

    @property
    def expires_s(self) -> int:
        return self.issued_s + self.lifetime_s


GRANT = MessageKind(
    SignedType.GRANT,
    Layout(
        Grant,
        data("key_id", 4),
        data("serial", 8),
        data("device_key", 0, 32, 33),
        uint("issued_s"),
        uint("lifetime_s", least=1),
        uint("limit_minor"),
        uint("total_minor"),
        currency(),
        size_max=80,
    ),
)
