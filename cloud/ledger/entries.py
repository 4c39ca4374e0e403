"""Journal entries: balanced sets of postings, and the builders that turn business events into them. Pure.

Sign: a balance is what we owe. Payer, merchant-payable and suspense accounts are positive when we owe money to
somebody, fee income is positive when earned; funding clearing (money that the top-up provider holds for us) and
offline loss run negative. So every entry sums to zero in each currency, and so do all balances together.

An entry's ``cause`` is its idempotency key: one cause, one entry, for ever. A replay is the same if its *claim* is
the same. Where the postings follow from balances found at posting time (an offline sale), the claim is what was asked
for and not the split, so that a retry after an unknown commit meets its own first answer.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from cloud.errors import EntryError
from sync import cbor
from sync.ids import MerchantId
from sync.money import Money

PLATFORM = "platform"
"""Owner of the accounts that are ours."""
CAUSE_LENGTH_MAX = 120
OWNER_LENGTH_MAX = 32


class AccountKind(StrEnum):
    """What an account holds, and whose it is."""

    PAYER_AVAILABLE = "payer_available"
    """A wallet's money."""
    PAYER_OFFLINE = "payer_offline"
    """The reserve of a wallet's device (protocol §4)."""
    PAYER_HELD = "payer_held"
    """A wallet's money that a courier's approval holds until the terminal's record has come (protocol §6)."""
    MERCHANT_PAYABLE = "merchant_payable"
    """What a merchant is paid at the next settlement."""
    FEE_INCOME = "fee_income"
    FUNDING_CLEARING = "funding_clearing"
    """Money on its way from the top-up provider: negative."""
    PAYOUT_CLEARING = "payout_clearing"
    """Money on its way to merchants' banks."""
    OFFLINE_LOSS = "offline_loss"
    """What offline payments cost us: negative."""
    SUSPENSE = "suspense"
    """A merchant's money that is not payable until somebody has decided."""


NEVER_NEGATIVE = frozenset(
    {AccountKind.PAYER_AVAILABLE, AccountKind.PAYER_OFFLINE, AccountKind.PAYER_HELD, AccountKind.SUSPENSE}
)
"""Accounts that no posting may overdraw."""


class EntryKind(StrEnum):
    """Which business event an entry stands for."""

    TOP_UP = "top_up"
    RESERVE_MOVED = "reserve_moved"
    RESERVE_RELEASED = "reserve_released"
    HELD = "held"
    HOLD_ENDED = "hold_ended"
    ONLINE_SALE = "online_sale"
    OFFLINE_SALE = "offline_sale"
    REPLAYED_SALE = "replayed_sale"
    REVERSAL = "reversal"
    REFUND = "refund"


@dataclass(frozen=True, slots=True, order=True)
class AccountRef:
    """Names an account: unique by kind, owner and currency. ``owner`` is a wallet, device or merchant, or ours."""

    kind: AccountKind
    owner: str
    currency: str


@dataclass(frozen=True, slots=True)
class Posting:
    """One line: ``amount`` is added to the account's balance; its currency is the account's."""

    account: AccountRef
    amount: Money


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """A balanced set of postings; one that is not cannot be built (``EntryError``, by its ``code``).

    ``reverses`` is the cause of the entry this one takes back. ``claim`` is what content is compared by where the
    postings are not (see the module).
    """

    cause: str
    kind: EntryKind
    postings: tuple[Posting, ...]
    reverses: str | None = None
    claim: bytes | None = None

    def __post_init__(self) -> None:
        if not 0 < len(self.cause) <= CAUSE_LENGTH_MAX or not self.cause.isascii():
            raise EntryError("bad_cause", f"a cause has 1 to {CAUSE_LENGTH_MAX} ASCII characters")
        _check_postings(self.postings)

    @property
    def content_hash(self) -> bytes:
        """SHA-256 over kind, reversed cause and claim (or sorted postings), in deterministic CBOR."""
        lines: cbor.Value = self.claim if self.claim is not None else _postings_value(self.postings)
        head = (self.kind.value.encode(), (self.reverses or "").encode())
        return hashlib.sha256(cbor.encode((*head, lines))).digest()


@dataclass(frozen=True, slots=True)
class Sale:
    """A sale to be posted: ``commission_ppm`` of the amount is our fee. Owners as in the accounts below."""

    cause: str
    amount: Money
    merchant_id: MerchantId
    commission_ppm: int


@dataclass(frozen=True, slots=True)
class OfflineSplit:
    """Where the money of an offline sale comes from; the three sum to its amount."""

    from_reserve: Money
    from_available: Money
    uncovered: Money


def payer_available(wallet_id: str, currency: str) -> AccountRef:
    """The money of a wallet."""
    return AccountRef(AccountKind.PAYER_AVAILABLE, wallet_id, currency)


def payer_offline(device_id: str, currency: str) -> AccountRef:
    """The reserve belongs to the wallet's *device* (protocol §4): a lost phone's stays apart from the new one's."""
    return AccountRef(AccountKind.PAYER_OFFLINE, device_id, currency)


def payer_held(wallet_id: str, currency: str) -> AccountRef:
    """The money of a wallet that is promised to terminals and not paid yet."""
    return AccountRef(AccountKind.PAYER_HELD, wallet_id, currency)


def merchant_payable(merchant_id: MerchantId, currency: str) -> AccountRef:
    """What a merchant is paid at the next settlement."""
    return AccountRef(AccountKind.MERCHANT_PAYABLE, merchant_id.hex(), currency)


def suspense(merchant_id: MerchantId, currency: str) -> AccountRef:
    """A merchant's money that awaits a decision."""
    return AccountRef(AccountKind.SUSPENSE, merchant_id.hex(), currency)


def platform(kind: AccountKind, currency: str) -> AccountRef:
    """One of our own accounts."""
    return AccountRef(kind, PLATFORM, currency)


def top_up(cause: str, *, wallet_id: str, amount: Money) -> JournalEntry:
    """The provider has taken ``amount`` from the customer: funding clearing → payer available."""
    clearing = platform(AccountKind.FUNDING_CLEARING, amount.currency)
    return _move(cause, EntryKind.TOP_UP, amount, source=clearing, target=payer_available(wallet_id, amount.currency))


def reserve_moved(cause: str, *, wallet_id: str, device_id: str, amount: Money) -> JournalEntry:
    """A grant was issued or renewed: payer available → payer offline."""
    source, target = payer_available(wallet_id, amount.currency), payer_offline(device_id, amount.currency)
    return _move(cause, EntryKind.RESERVE_MOVED, amount, source=source, target=target)


def reserve_released(cause: str, *, wallet_id: str, device_id: str, amount: Money) -> JournalEntry:
    """Nothing can draw on it any more: payer offline → payer available."""
    source, target = payer_offline(device_id, amount.currency), payer_available(wallet_id, amount.currency)
    return _move(cause, EntryKind.RESERVE_RELEASED, amount, source=source, target=target)


def held(cause: str, *, wallet_id: str, amount: Money) -> JournalEntry:
    """A courier carries our promise to a terminal: payer available → payer held."""
    source, target = payer_available(wallet_id, amount.currency), payer_held(wallet_id, amount.currency)
    return _move(cause, EntryKind.HELD, amount, source=source, target=target)


def hold_ended(cause: str, *, wallet_id: str, amount: Money) -> JournalEntry:
    """The promise is kept or over: payer held → payer available, from where a kept one is paid in the same breath."""
    source, target = payer_held(wallet_id, amount.currency), payer_available(wallet_id, amount.currency)
    return _move(cause, EntryKind.HOLD_ENDED, amount, source=source, target=target)


def online_sale(sale: Sale, *, wallet_id: str) -> JournalEntry:
    """The cloud has approved: payer available → merchant payable and fee income."""
    _check_positive(sale.amount)
    payer = Posting(payer_available(wallet_id, sale.amount.currency), -sale.amount)
    return JournalEntry(sale.cause, EntryKind.ONLINE_SALE, (payer, *_credits(sale, covered=sale.amount)))


def reserved_sale(sale: Sale, *, wallet_id: str, device_id: str, split: OfflineSplit) -> JournalEntry:
    """The cloud has approved a code whose ceiling its phone counts: payer offline, then available → as ``online_sale``.

    ``split`` leaves nothing uncovered.
    """
    if split.uncovered or split.from_reserve + split.from_available != sale.amount:
        raise EntryError("split_mismatch", "what is approved is wholly covered")
    currency = sale.amount.currency
    postings = (
        Posting(payer_offline(device_id, currency), -split.from_reserve),
        Posting(payer_available(wallet_id, currency), -split.from_available),
        *_credits(sale, covered=sale.amount),
    )
    claim = _sale_claim(sale, payer=f"{wallet_id}/{device_id}")
    return JournalEntry(sale.cause, EntryKind.ONLINE_SALE, _without_zero(postings), claim=claim)


def refund(sale: Sale, *, wallet_id: str, before: Money, after: Money) -> JournalEntry:
    """Give back a part of a sale of which ``before`` was left and ``after`` stays: merchant and fee → payer.

    The books stand afterwards as if the sale had been of ``after``: the commission goes back with the money, and over
    all refunds of a sale it is the commission that was taken, to the cent.
    """
    if not after < before or not before <= sale.amount or after.amount_minor < 0:
        raise EntryError("refund_out_of_range", f"{before} to {after} is no refund of {sale.amount}")
    commission_before, net_before = before.split_rate(rate_ppm=sale.commission_ppm)
    commission_after, net_after = after.split_rate(rate_ppm=sale.commission_ppm)
    currency = sale.amount.currency
    postings = (
        Posting(payer_available(wallet_id, currency), before - after),
        Posting(merchant_payable(sale.merchant_id, currency), net_after - net_before),
        Posting(platform(AccountKind.FEE_INCOME, currency), commission_after - commission_before),
    )
    return JournalEntry(sale.cause, EntryKind.REFUND, _without_zero(postings))


def split_offline(amount: Money, *, reserve: Money, available: Money) -> OfflineSplit:
    """Say who pays an offline sale: the reserve, then available money, and what is left is uncovered."""
    _check_positive(amount)
    nothing = Money(0, amount.currency)
    from_reserve = min(amount, max(reserve, nothing))
    from_available = min(amount - from_reserve, max(available, nothing))
    return OfflineSplit(from_reserve, from_available, amount - from_reserve - from_available)


def offline_sale(sale: Sale, *, wallet_id: str, device_id: str, split: OfflineSplit) -> JournalEntry:
    """A terminal's record has arrived: the covered part goes to the merchant less commission, the rest to suspense.

    ``split`` is ``split_offline`` of the balances read under lock in the same transaction. Commission is taken of the
    covered part only, rounded half up to a minor unit; the merchant gets covered − commission, so no cent is lost.
    The uncovered part is our offline loss and stands in the merchant's suspense, not payable until decided.
    """
    currency = sale.amount.currency
    covered = split.from_reserve + split.from_available
    if covered + split.uncovered != sale.amount:
        raise EntryError("split_mismatch", "the split is of another amount")
    postings = (
        Posting(payer_offline(device_id, currency), -split.from_reserve),
        Posting(payer_available(wallet_id, currency), -split.from_available),
        *_credits(sale, covered=covered),
        *_uncovered(sale, split.uncovered),
    )
    claim = _sale_claim(sale, payer=f"{wallet_id}/{device_id}")
    return JournalEntry(sale.cause, EntryKind.OFFLINE_SALE, _without_zero(postings), claim=claim)


def replayed_sale(sale: Sale) -> JournalEntry:
    """The same signed code was taken twice: the payer is not touched, the loss goes by policy, via suspense."""
    _check_positive(sale.amount)
    return JournalEntry(sale.cause, EntryKind.REPLAYED_SALE, _uncovered(sale, sale.amount))


def unpaid_sale(sale: Sale) -> JournalEntry:
    """The hold that should have paid it is over: the payer is not touched, what to do is decided, via suspense."""
    _check_positive(sale.amount)
    return JournalEntry(sale.cause, EntryKind.OFFLINE_SALE, _uncovered(sale, sale.amount))


def reversal(entry: JournalEntry, *, cause: str) -> JournalEntry:
    """Take an entry back by its exact opposite; the first stays as it is."""
    if entry.kind is EntryKind.REVERSAL:
        raise EntryError("reversal_of_reversal", "a reversal is not reversed: post the event again")
    postings = tuple(Posting(posting.account, -posting.amount) for posting in entry.postings)
    return JournalEntry(cause, EntryKind.REVERSAL, postings, reverses=entry.cause)


def _move(cause: str, kind: EntryKind, amount: Money, *, source: AccountRef, target: AccountRef) -> JournalEntry:
    _check_positive(amount)
    return JournalEntry(cause, kind, (Posting(source, -amount), Posting(target, amount)))


def _credits(sale: Sale, *, covered: Money) -> tuple[Posting, ...]:
    commission, net = covered.split_rate(rate_ppm=sale.commission_ppm)
    currency = covered.currency
    return _without_zero(
        (
            Posting(merchant_payable(sale.merchant_id, currency), net),
            Posting(platform(AccountKind.FEE_INCOME, currency), commission),
        )
    )


def _uncovered(sale: Sale, amount: Money) -> tuple[Posting, ...]:
    loss = platform(AccountKind.OFFLINE_LOSS, amount.currency)
    return (Posting(loss, -amount), Posting(suspense(sale.merchant_id, amount.currency), amount))


def _without_zero(postings: Iterable[Posting]) -> tuple[Posting, ...]:
    return tuple(posting for posting in postings if posting.amount)


def _sale_claim(sale: Sale, *, payer: str) -> bytes:
    amount = (sale.amount.amount_minor, sale.amount.currency.encode())
    return cbor.encode((payer.encode(), sale.merchant_id, *amount, sale.commission_ppm))


def _check_positive(amount: Money) -> None:
    if amount.amount_minor <= 0:
        raise EntryError("amount_not_positive", f"an entry moves more than nothing, not {amount}")


def _check_postings(postings: tuple[Posting, ...]) -> None:
    sums: defaultdict[str, int] = defaultdict(int)
    for posting in postings:
        if not posting.amount:
            raise EntryError("zero_posting", f"a posting of nothing to {posting.account}")
        if posting.amount.currency != posting.account.currency:
            raise EntryError("posting_currency_mismatch", f"{posting.amount} posted to {posting.account}")
        if len(posting.account.owner) > OWNER_LENGTH_MAX:
            raise EntryError("bad_owner", f"the owner of {posting.account} is too long")
        sums[posting.amount.currency] += posting.amount.amount_minor
    if not postings:
        raise EntryError("empty_entry", "an entry without postings")
    if len({posting.account for posting in postings}) != len(postings):
        raise EntryError("account_twice", "an account stands twice in one entry")
    unbalanced = {currency: total for currency, total in sums.items() if total}
    if unbalanced:
        raise EntryError("unbalanced_entry", f"an entry that does not sum to zero: {unbalanced}")


def _postings_value(postings: tuple[Posting, ...]) -> cbor.Value:
    return tuple(
        (p.account.kind.value.encode(), p.account.owner.encode(), p.account.currency.encode(), p.amount.amount_minor)
        for p in sorted(postings, key=lambda posting: posting.account)
    )
