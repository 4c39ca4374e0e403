"""The ledger alone: payments posted 500 in a transaction, on an empty ledger, on one of a million entries, and hordak.

Measured is what a payment costs from its figures to the commit: the entry is built, the accounts are locked, cover is
checked, entry, postings and totals are written. All three run on one durable MariaDB, in turn, several times.
"""

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import count
from time import perf_counter

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from cloud.db import insert_all, make_engine, run_read, run_transaction, update_rows, upgrade
from cloud.ledger import entries
from cloud.ledger.audit import verify_ledger
from cloud.ledger.batch import PostOutcome
from cloud.ledger.entries import AccountKind, AccountRef, EntryKind, JournalEntry, Sale
from cloud.ledger.service import lock_for_posting, post_entries
from cloud.ledger.tables import ACCOUNTS, JOURNAL_ENTRIES, POSTINGS
from demo.processes import ServerMissingError
from sync.ids import MerchantId
from sync.money import Money
from tests.benchmarks.cloud_servers import database_server
from tests.benchmarks.measure import Row, Target, row_of
from tests.servers.mariadb import MariaDb

SEEDED_ENTRIES = 1_000_000
PER_TRANSACTION = 500
ROUNDS = 5
PAYMENTS = 4_000
"""In one round on each of our ledgers."""
PEER_PAYMENTS = 200
WALLETS, MERCHANTS, MANY_MERCHANTS = 5_000, 25, 1_000
FUNDS_MINOR = 10_000_00
COMMISSION_PPM = 15_000
POSTED_MS = 1_800_000_000_000
FLAT = Target("ratio", "least", 0.8)
"""A ledger of a million entries posts within 20 % as quickly as an empty one."""
_SEED_AT_ONCE = 10_000

_WALLET_IDS = [f"W{number:012d}" for number in range(WALLETS)]
_MERCHANT_IDS = [MerchantId(number.to_bytes(8, "big")) for number in range(MANY_MERCHANTS)]


class PeerMissingError(ServerMissingError):
    """The library that we compare with is not installed."""

    def __init__(self) -> None:
        Exception.__init__(
            self,
            "django-hordak is not installed, so hordak_ratio was not measured. Install it with: "
            'make setup (or: python -m uv pip install "django-hordak>=2.0")',
        )


class OurLedger:
    """One of our ledgers in a database of its own, with funded wallets."""

    def __init__(self, url: str) -> None:
        upgrade(url)
        self._numbers = count()
        self.engine: Engine = make_engine(url)
        amount = Money(FUNDS_MINOR, "EUR")
        for at in range(0, WALLETS, PER_TRANSACTION):
            cut = _WALLET_IDS[at : at + PER_TRANSACTION]
            self._post([entries.top_up(f"top-up:{wallet}", wallet_id=wallet, amount=amount) for wallet in cut])

    def seed(self, entries_count: int) -> None:
        """Fill in payments by multi-row inserts, with every balance right, as if they had been posted."""
        refs = [*map(_payer, _WALLET_IDS), *map(_payable, _MERCHANT_IDS[:MERCHANTS]), _FEES]
        locked = run_transaction(self.engine, lambda session: lock_for_posting(session, refs))
        before = {ref: (account.state.balance_minor, account.state.postings_count) for ref, account in locked.items()}
        ids = {ref: account.account_id for ref, account in locked.items()}
        totals = dict(before)
        for at in range(0, entries_count, _SEED_AT_ONCE):
            numbers = range(at, at + _SEED_AT_ONCE)
            run_transaction(self.engine, partial(_seed, numbers=numbers, totals=totals, ids=ids))
        rows = sorted((ids[ref], *before[ref], *totals[ref]) for ref in totals)
        columns = ("balance_minor", "postings_count")
        run_transaction(
            self.engine,
            lambda session: update_rows(session, ACCOUNTS, rows, key="id", guards=columns, sets=columns),
        )

    def payments_per_s(
        self, payments: int, *, in_transaction: int = PER_TRANSACTION, merchants: int = MERCHANTS
    ) -> float:
        """Post so many payments to so many merchants in turn and answer how many a second."""
        began_s = perf_counter()
        for _ in range(payments // in_transaction):
            cut = [next(self._numbers) for _ in range(in_transaction)]
            self._post([_payment(number, merchants) for number in cut])
        return payments / (perf_counter() - began_s)

    def check(self) -> None:
        """Prove the books, so that nothing was measured that is not right."""
        if findings := run_read(self.engine, verify_ledger):
            raise RuntimeError(f"the bench's books are wrong: {findings[:3]}")

    def _post(self, batch: Sequence[JournalEntry]) -> None:
        outcomes = run_transaction(self.engine, lambda session: post_entries(session, batch, now_ms=POSTED_MS))
        if set(outcomes) != {PostOutcome.POSTED}:
            raise RuntimeError(f"the bench measures postings, these were {set(outcomes)}")


_FEES = entries.platform(AccountKind.FEE_INCOME, "EUR")


def _payer(wallet_id: str) -> AccountRef:
    return entries.payer_available(wallet_id, "EUR")


def _payable(merchant_id: MerchantId) -> AccountRef:
    return entries.merchant_payable(merchant_id, "EUR")


def _payment(number: int, merchants: int) -> JournalEntry:
    sale = Sale(f"payment:{number}", Money(10_00, "EUR"), _MERCHANT_IDS[number % merchants], COMMISSION_PPM)
    return entries.online_sale(sale, wallet_id=_WALLET_IDS[number % WALLETS])


def _seed(
    session: Session, *, numbers: Sequence[int], totals: dict[AccountRef, tuple[int, int]], ids: dict[AccountRef, int]
) -> None:
    made, lines = [], []
    for number in numbers:
        entry_id = SEEDED_ENTRIES + number
        wallet, merchant = _payer(_WALLET_IDS[number % WALLETS]), _payable(_MERCHANT_IDS[number % MERCHANTS])
        made.append(
            {
                "id": entry_id,
                "cause": f"offline:{number:016x}:{number:032x}",
                "kind": EntryKind.OFFLINE_SALE.value,
                "reverses": None,
                "content_hash": number.to_bytes(32, "big"),
                "posted_ms": POSTED_MS + number,
            }
        )
        for ref, amount_minor in ((wallet, -20), (merchant, 19), (_FEES, 1)):
            balance_minor, postings_count = totals[ref]
            totals[ref] = (balance_minor + amount_minor, postings_count + 1)
            lines.append(
                {
                    "entry_id": entry_id,
                    "account_id": ids[ref],
                    "account_sequence": postings_count + 1,
                    "amount_minor": amount_minor,
                    "balance_before_minor": balance_minor,
                    "balance_after_minor": balance_minor + amount_minor,
                }
            )
    insert_all(session, JOURNAL_ENTRIES, made)
    insert_all(session, POSTINGS, lines)


class Peer:
    """django-hordak in its process."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._input, self._output = process.stdin, process.stdout
        if self._output.readline() != "ready\n":
            raise RuntimeError("django-hordak could not be set up; its words stand above")

    def payments_per_s(self, payments: int) -> float:
        """Let it post so many payments and answer how many a second."""
        self._input.write(f"{payments}\n")
        self._input.flush()
        return payments / float(json.loads(self._output.readline()))


@contextmanager
def hordak(server: MariaDb) -> Iterator[Peer]:
    """Run django-hordak on a database of its own; raises ``PeerMissingError``."""
    if importlib.util.find_spec("hordak") is None:
        raise PeerMissingError
    server.create_database("hordak")
    command = [sys.executable, "-m", "tests.benchmarks.hordak_peer", str(server.port), "hordak"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Peer(process)


def rows() -> list[Row]:
    """Measure and return this file's rows."""
    with database_server() as server, hordak(server) as peer:
        empty, full = OurLedger(server.create_database("empty")), OurLedger(server.create_database("full"))
        full.seed(SEEDED_ENTRIES)
        figures = [
            (
                empty.payments_per_s(PAYMENTS),
                full.payments_per_s(PAYMENTS),
                empty.payments_per_s(PAYMENTS, merchants=1),
                full.payments_per_s(PAYMENTS, merchants=1),
                empty.payments_per_s(PAYMENTS, merchants=MANY_MERCHANTS),
                full.payments_per_s(PAYMENTS, merchants=MANY_MERCHANTS),
                peer.payments_per_s(PEER_PAYMENTS),
                empty.payments_per_s(PEER_PAYMENTS, in_transaction=1),
            )
            for _ in range(ROUNDS)
        ]
        empty.check()
        for ledger in (empty, full):
            ledger.engine.dispose()
    of_empty, of_full, hot_empty, hot_full, many_empty, many_full, of_peer, one_by_one = zip(*figures, strict=True)
    return [
        row_of("posting_per_s_at_1m_rows", unit="1/s", values=of_full, bares=of_empty),
        row_of("posting_hot_merchant", unit="1/s", values=hot_full, bares=hot_empty, target=FLAT),
        row_of("posting_1000_merchants", unit="1/s", values=many_full, bares=many_empty, target=FLAT),
        row_of("hordak_ratio", unit="1/s", values=of_empty, bares=of_peer, target=Target("ratio", "least", 25)),
        row_of("hordak_ratio_one_by_one", unit="1/s", values=one_by_one, bares=of_peer),
    ]
