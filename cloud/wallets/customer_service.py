"""What is done with customers: open a wallet, verify, bind a phone, top up; inside the caller's transaction."""

import re
from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum

from sqlalchemy.orm import Session

from cloud.ledger import entries
from cloud.ledger.batch import PostOutcome
from cloud.ledger.service import post_entries
from cloud.wallets import customer_store
from cloud.wallets.customer_store import Device, Wallet
from cloud.wallets.reserve import PinUsage, WalletStatus
from sync.ids import RandomBytes
from sync.keys import parse_public_key
from sync.money import Money
from sync.refusals import Refusal

# Crockford's base 32 without vowels that spell, so that an id can be read out; 12 characters are 60 bits.
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s]{1,189}")
_PHONE = re.compile(r"\+[1-9][0-9]{6,14}")  # E.164
_IDEMPOTENCY_KEY = re.compile(r"[!-~]{1,64}")


class CustomerRefusal(StrEnum):
    """Why something was not done for a customer; nothing was changed."""

    NAME_INVALID = "name_invalid"
    EMAIL_INVALID = "email_invalid"
    PHONE_INVALID = "phone_invalid"
    EMAIL_TAKEN = "email_taken"
    PHONE_TAKEN = "phone_taken"
    WALLET_ID_TAKEN = "wallet_id_taken"
    WALLET_UNKNOWN = "wallet_unknown"
    WALLET_BLOCKED = "wallet_blocked"
    BINDING_KEY_INVALID = "binding_key_invalid"
    BINDING_KEY_TAKEN = "binding_key_taken"
    DEVICE_ID_TAKEN = "device_id_taken"
    AMOUNT_INVALID = "amount_invalid"
    CURRENCY_MISMATCH = "currency_mismatch"
    IDEMPOTENCY_KEY_INVALID = "idempotency_key_invalid"


def make_wallet_id(random_bytes: RandomBytes) -> str:
    """``W`` and 12 characters."""
    return "W" + _random_text(random_bytes)


def make_device_id(random_bytes: RandomBytes) -> str:
    """``D`` and 12 characters; the cloud names the phone, so that no phone can take another's name."""
    return "D" + _random_text(random_bytes)


def open_wallet(session: Session, wallet: Wallet) -> Wallet | CustomerRefusal:
    """Open a wallet; e-mail and phone are unique in one spelling (lower case; E.164). Answers it as stored."""
    wallet = replace(wallet, name=wallet.name.strip(), email=wallet.email.strip().lower(), phone=_spell(wallet.phone))
    if not 0 < len(wallet.name) <= 200:
        return CustomerRefusal.NAME_INVALID
    if not _EMAIL.fullmatch(wallet.email):
        return CustomerRefusal.EMAIL_INVALID
    if not _PHONE.fullmatch(wallet.phone):
        return CustomerRefusal.PHONE_INVALID
    if customer_store.insert_wallet(session, wallet):
        return wallet
    known = customer_store.find_wallet_by_contact(session, email=wallet.email, phone=wallet.phone)
    if known is None:
        return CustomerRefusal.WALLET_ID_TAKEN
    return CustomerRefusal.EMAIL_TAKEN if known.email == wallet.email else CustomerRefusal.PHONE_TAKEN


def set_kyc_verified(session: Session, wallet_id: str, *, kyc_verified: bool) -> bool:
    """Note that the customer's identity was (or no longer is) verified; false where there is no such wallet."""
    return customer_store.set_kyc_verified(session, wallet_id, kyc_verified=kyc_verified)


def change_wallet_status(
    session: Session, wallet_id: str, *, from_status: WalletStatus, to_status: WalletStatus
) -> bool:
    """Change a wallet's status; false where it was not (or no longer) ``from_status``."""
    return customer_store.change_wallet_status(session, wallet_id, from_status=from_status, to_status=to_status)


def bind_device(session: Session, device: Device) -> Device | CustomerRefusal:
    """Bind a phone by its long-lived key; the same key for the same wallet again is answered as the first time."""
    if isinstance(parse_public_key(device.binding_key), Refusal):
        return CustomerRefusal.BINDING_KEY_INVALID
    if device.wallet_id not in customer_store.wallets_by_id(session, [device.wallet_id]):
        return CustomerRefusal.WALLET_UNKNOWN
    if customer_store.insert_device(session, device):
        return device
    known = customer_store.find_device_by_key(session, device.binding_key)
    if known is None:
        return CustomerRefusal.DEVICE_ID_TAKEN
    return known if known.wallet_id == device.wallet_id else CustomerRefusal.BINDING_KEY_TAKEN


def top_up(
    session: Session, *, wallet_id: str, amount: Money, idempotency_key: str, now_ms: int
) -> PostOutcome | CustomerRefusal:
    """Credit what the top-up provider has taken under ``idempotency_key`` (its reference, 1 to 64 characters).

    The key is unique over all wallets, so the provider's reference credits once, whoever is named with it.
    """
    if not _IDEMPOTENCY_KEY.fullmatch(idempotency_key):
        return CustomerRefusal.IDEMPOTENCY_KEY_INVALID
    if amount.amount_minor <= 0:
        return CustomerRefusal.AMOUNT_INVALID
    wallet = customer_store.wallets_by_id(session, [wallet_id]).get(wallet_id)
    if wallet is None:
        return CustomerRefusal.WALLET_UNKNOWN
    if wallet.status is WalletStatus.BLOCKED:
        return CustomerRefusal.WALLET_BLOCKED
    if wallet.currency != amount.currency:
        return CustomerRefusal.CURRENCY_MISMATCH
    entry = entries.top_up(f"top_up:{idempotency_key}", wallet_id=wallet_id, amount=amount)
    return post_entries(session, [entry], now_ms=now_ms)[0]


def count_payments_without_pin(session: Session, usages: Mapping[str, PinUsage]) -> None:
    """Count posted payments that needed no PIN, by wallet; in the transaction that posts them, after the entries."""
    customer_store.add_pin_usage(session, usages)


def note_pin_entered(session: Session, wallet_id: str) -> bool:
    """The customer has shown the PIN: count from nothing again. False where there is no such wallet."""
    return customer_store.reset_pin_usage(session, wallet_id)


def _random_text(random_bytes: RandomBytes) -> str:
    return "".join(_ALPHABET[byte & 31] for byte in random_bytes(12))


def _spell(phone: str) -> str:
    return re.sub(r"[\s()./-]", "", phone)
