"""What operators decide about customers, each kept with who and why; inside the caller's transaction.

The wallet's row is locked first, as whoever issues a grant does: a grant is issued before the decision or refused
because of it, and one that was issued before is found here.
"""

from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy.orm import Session

from cloud.identity.action_store import Action, ActionSubject, note_action
from cloud.wallets import customer_store, service, store
from cloud.wallets.customer_store import Wallet
from cloud.wallets.reserve import DenyReason, WalletStatus


class WalletAction(StrEnum):
    """What an operator may do to a wallet."""

    VERIFY = "verify"
    UNVERIFY = "unverify"
    SUSPEND = "suspend"
    REINSTATE = "reinstate"
    BLOCK = "block"


class WalletDecisionRefusal(StrEnum):
    """Why a decision was not taken; nothing was changed."""

    WALLET_UNKNOWN = "wallet_unknown"
    REASON_MISSING = "reason_missing"
    WALLET_NOT_IN_THAT_STATUS = "wallet_not_in_that_status"


_STEPS = {
    (WalletStatus.ACTIVE, WalletAction.SUSPEND): WalletStatus.SUSPENDED,
    (WalletStatus.SUSPENDED, WalletAction.REINSTATE): WalletStatus.ACTIVE,
    (WalletStatus.ACTIVE, WalletAction.BLOCK): WalletStatus.BLOCKED,
    (WalletStatus.SUSPENDED, WalletAction.BLOCK): WalletStatus.BLOCKED,
}


@dataclass(frozen=True, slots=True)
class WalletDecision:
    """What is decided about whom, by whom, and why."""

    wallet_id: str
    action: WalletAction
    login_id: str
    reason: str


def decide(session: Session, decision: WalletDecision, *, now_ms: int) -> Wallet | WalletDecisionRefusal:
    """Do it; blocking is for good and denies every live grant, so that no box takes one after its next contact.

    A suspension lets grants run out (72 h at most): what is denied stays denied, and a suspension may be lifted.
    """
    if not decision.reason:
        return WalletDecisionRefusal.REASON_MISSING
    wallet = customer_store.lock_wallets(session, [decision.wallet_id]).get(decision.wallet_id)
    if wallet is None:
        return WalletDecisionRefusal.WALLET_UNKNOWN
    if decision.action in (WalletAction.VERIFY, WalletAction.UNVERIFY):
        is_verified = decision.action is WalletAction.VERIFY
        if wallet.kyc_verified is is_verified:
            return WalletDecisionRefusal.WALLET_NOT_IN_THAT_STATUS
        customer_store.set_kyc_verified(session, wallet.wallet_id, kyc_verified=is_verified)
        _note(session, decision, f"verified: {is_verified}".lower(), now_ms=now_ms)
    else:
        to_status = _STEPS.get((wallet.status, decision.action))
        if to_status is None or not customer_store.change_wallet_status(
            session, wallet.wallet_id, from_status=wallet.status, to_status=to_status
        ):
            return WalletDecisionRefusal.WALLET_NOT_IN_THAT_STATUS
        if to_status is WalletStatus.BLOCKED:
            _deny_grants(session, wallet.wallet_id, now_ms=now_ms)
        _note(session, decision, f"{wallet.status.value} to {to_status.value}", now_ms=now_ms)
    return customer_store.wallets_by_id(session, [wallet.wallet_id])[wallet.wallet_id]


def _deny_grants(session: Session, wallet_id: str, *, now_ms: int) -> None:
    devices = [device.device_id for device in customer_store.devices_of(session, wallet_id)]
    serials = [grant.serial for grant in store.drawable_grants(session, devices, now_ms=now_ms)]
    service.deny_serials(session, serials, reason=DenyReason.WALLET_BLOCKED, now_ms=now_ms)


def _note(session: Session, decision: WalletDecision, detail: str, *, now_ms: int) -> None:
    done = Action(
        login_id=decision.login_id,
        subject=ActionSubject.WALLET,
        subject_id=decision.wallet_id,
        action=decision.action.value,
        reason=decision.reason,
        done_at_ms=now_ms,
        detail=detail,
    )
    note_action(session, done)
