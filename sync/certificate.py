"""Terminal certificates: what the fleet CA says of a box, small enough to travel inside a QR code.

The box's link to the broker uses an X.509 certificate of its own key from the same CA; this one is for what it signs.
"""

from dataclasses import dataclass

from sync.envelope import SignedType
from sync.ids import KeyId, MerchantId, SiteId, TerminalId
from sync.layout import Layout, data, text, uint
from sync.message import MessageKind

NAME_SIZE_MAX = 24


@dataclass(frozen=True, slots=True)
class TerminalCertificate:
    """``public_key`` signs for this terminal of this merchant and site; ``name`` is what a customer reads."""

    key_id: KeyId
    terminal_id: TerminalId
    merchant_id: MerchantId
    site_id: SiteId
    name: str
    public_key: bytes
    not_before_s: int
    not_after_s: int

    def is_valid_at(self, now_s: int) -> bool:
        return self.not_before_s <= now_s < self.not_after_s


TERMINAL_CERTIFICATE = MessageKind(
    SignedType.TERMINAL_CERTIFICATE,
    Layout(
        TerminalCertificate,
        data("key_id", 4),
        data("terminal_id", 8),
        data("merchant_id", 8),
        data("site_id", 8),
        text("name", size_max=NAME_SIZE_MAX),
        data("public_key", 32, 33),
        uint("not_before_s"),
        uint("not_after_s"),
        size_max=110,
    ),
)
