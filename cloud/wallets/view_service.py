"""What a customer sees of the own wallet: what is there, what is reserved, what is coming, what today has left."""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from cloud.ledger import entries
from cloud.ledger.entries import AccountRef
from cloud.ledger.service import read_balances
from cloud.wallets import customer_store, spending_store, top_up_store
from cloud.wallets.customer_store import Wallet
from cloud.wallets.statement import day_start_ms


@dataclass(frozen=True, slots=True)
class Reserve:
    """What is reserved for payments without network on one phone."""

    device_id: str
    reserve_minor: int


@dataclass(frozen=True, slots=True)
class WalletView:
    """A wallet at one moment, in minor units.

    ``held_minor`` is promised by approvals that the customer carried to terminals, ``pending_minor`` of top-ups that
    the provider has not decided.
    """

    wallet: Wallet
    available_minor: int
    held_minor: int
    reserves: tuple[Reserve, ...]
    pending_minor: int
    spent_today_minor: int
    day_start_ms: int

    @property
    def offline_minor(self) -> int:
        """What is reserved on all phones together."""
        return sum(each.reserve_minor for each in self.reserves)


def view_wallet(session: Session, wallet_id: str, *, now_ms: int) -> WalletView | None:
    """Show a wallet; run it with ``run_read``, so that all of it is one moment."""
    wallet = customer_store.wallets_by_id(session, [wallet_id]).get(wallet_id)
    if wallet is None:
        return None
    available = entries.payer_available(wallet_id, wallet.currency)
    held = entries.payer_held(wallet_id, wallet.currency)
    offline = offline_accounts(session, wallet)
    balances = read_balances(session, [available, held, *offline.values()])
    return WalletView(
        wallet=wallet,
        available_minor=balances[available],
        held_minor=balances[held],
        reserves=tuple(Reserve(device_id, balances[account]) for device_id, account in offline.items()),
        pending_minor=top_up_store.open_top_ups(session, wallet_id)[1],
        spent_today_minor=spending_store.spent_minor(session, wallet_id, now_ms=now_ms),
        day_start_ms=day_start_ms(now_ms),
    )


def offline_accounts(session: Session, wallet: Wallet) -> dict[str, AccountRef]:
    """The reserve's account of each of the wallet's phones, the newest phone first."""
    devices = customer_store.devices_of(session, wallet.wallet_id)
    return {each.device_id: entries.payer_offline(each.device_id, wallet.currency) for each in devices}
