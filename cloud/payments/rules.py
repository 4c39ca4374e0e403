"""The rules of online payments, without I/O: items add up, who must prove what, one key means one request."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

AMOUNT_MINOR_MAX = 10_000_000_00
QUANTITY_MAX = 100_000
ITEMS_MAX = 100
METADATA_KEYS_MAX = 20

# Control characters, line and paragraph separators, and what turns the direction of writing: on a phone's confirm
# screen they could make one amount or name look like another.
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")


class Proof(StrEnum):
    """How the customer has shown, with this confirmation, to be who they are."""

    ONE_TAP = "one_tap"
    PIN = "pin"
    PASSKEY = "passkey"
    PASSWORD = "password"  # noqa: S105 - a kind of proof, no password.


@dataclass(frozen=True, slots=True)
class Item:
    """One line of what is bought, minor units; ``total_minor`` is quantity times price."""

    name: str
    quantity: int
    price_minor: int
    total_minor: int


@dataclass(frozen=True, slots=True)
class PaymentRules:
    """The numbers of online payments; amounts in minor units."""

    confirmation_ttl_s: int = 120
    no_pin_limit_minor: int = 50_00


def add_up(items: Sequence[Item], *, amount_minor: int) -> bool:
    """Tell whether each line is its quantity times its price, and all lines are the amount; no items are all right."""
    is_each = all(item.quantity * item.price_minor == item.total_minor for item in items)
    return not items or (is_each and sum(item.total_minor for item in items) == amount_minor)


def is_readable(text: str) -> bool:
    """Tell whether a person sees all of a text as it is."""
    return not _UNSEEN.search(text)


def is_proof_enough(proof: Proof, *, amount_minor: int, no_pin_limit_minor: int, is_pin_due: bool) -> bool:
    """Tell whether one tap is enough: up to the limit, and not after too many payments without a PIN (protocol §5)."""
    return proof is not Proof.ONE_TAP or (amount_minor <= no_pin_limit_minor and not is_pin_due)


def input_hash(action: str, content: Mapping[str, object]) -> bytes:
    """Return SHA-256 of what is asked for: the same for the same request, however its JSON was written."""
    spelled = json.dumps([action, content], sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(spelled.encode()).digest()


def confirmation_hash(*, payment_id: str, amount_minor: int, currency: str, merchant_id: str) -> bytes:
    """Return what a passkey signs of a payment: which one, how much, for whom."""
    facts = {"payment_id": payment_id, "amount_minor": amount_minor, "currency": currency, "merchant_id": merchant_id}
    return input_hash("confirm", facts)
