"""How a merchant comes and goes, without I/O.

::

    applied ── verify ──▶ active ◀─ reinstate ─ suspended
       │  ▲                 └────── suspend ───────▶┘
    refuse └─ reapply ─ refused          block, from both: for good

An active merchant is verified anew when it has taken another name, which ends the badge and not the payments.
"""

from enum import StrEnum


class MerchantStatus(StrEnum):
    """Whether a merchant may take payments: only an active one may take new ones."""

    APPLIED = "applied"
    REFUSED = "refused"
    ACTIVE = "active"
    SUSPENDED = "suspended"
    BLOCKED = "blocked"


class MerchantAction(StrEnum):
    """What changes a merchant's status; operators do it, but for ``reapply``, which is the owner's."""

    VERIFY = "verify"
    REFUSE = "refuse"
    REAPPLY = "reapply"
    SUSPEND = "suspend"
    REINSTATE = "reinstate"
    BLOCK = "block"


_STEPS = {
    (MerchantStatus.APPLIED, MerchantAction.VERIFY): MerchantStatus.ACTIVE,
    (MerchantStatus.ACTIVE, MerchantAction.VERIFY): MerchantStatus.ACTIVE,
    (MerchantStatus.APPLIED, MerchantAction.REFUSE): MerchantStatus.REFUSED,
    (MerchantStatus.REFUSED, MerchantAction.REAPPLY): MerchantStatus.APPLIED,
    (MerchantStatus.ACTIVE, MerchantAction.SUSPEND): MerchantStatus.SUSPENDED,
    (MerchantStatus.SUSPENDED, MerchantAction.REINSTATE): MerchantStatus.ACTIVE,
    (MerchantStatus.ACTIVE, MerchantAction.BLOCK): MerchantStatus.BLOCKED,
    (MerchantStatus.SUSPENDED, MerchantAction.BLOCK): MerchantStatus.BLOCKED,
}

NEEDS_REASON = frozenset({MerchantAction.REFUSE, MerchantAction.SUSPEND, MerchantAction.BLOCK})
"""What a merchant is told the reason of."""


def next_status(status: MerchantStatus, action: MerchantAction) -> MerchantStatus | None:
    """Return the status behind an action; None where it does not start from here."""
    return _STEPS.get((status, action))


def may_take_payments(status: MerchantStatus) -> bool:
    """Tell whether a new payment may be taken; what a box took offline before it knew is posted all the same."""
    return status is MerchantStatus.ACTIVE
