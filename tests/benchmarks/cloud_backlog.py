"""A backlog to drain: 250 enrolled boxes with up to 400 signed sales each, and the cloud that enrolled and funded them.

Everything is real, made by the production's own services: keys by the ceremony, boxes and their link certificates by
enrolment, wallets and grants by the wallet service, codes and records signed one by one. It is prepared once in an
embedded database, which takes about two minutes, and kept in ``build/``; a bench then copies the rows into the
database it measures. Records are accepted for seven days, so a backlog older than two is made anew.
"""

import hashlib
import multiprocessing
import pickle
import random
import secrets
import shutil
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, Table, select
from sqlalchemy.orm import Session

from cloud.db import Base, run_transaction
from cloud.migrations import load_tables
from sync.batch import BATCH_RECORDS_MAX
from sync.certificate import TERMINAL_CERTIFICATE
from sync.clock import SystemClock
from sync.enrolment import ENROLMENT_ANSWER
from sync.ids import MerchantId, TerminalId
from sync.refusals import Refusal
from sync.upload import UploaderSettings
from tests.fakes.cloud_world import CloudWorld, FakeBox, FakePhone, HandClock
from tests.fakes.fleet_keys import NewBox

TERMINALS = 250
RECORDS_EACH = 400
MERCHANTS = 25
PHONES = 5_000
"""So that each pays twenty times in the long drain and twice in the short one, as an account of life would."""
SALES_EVERY_S = 200
FUNDS_MINOR = 5_000_00
AMOUNT_MINOR_MAX = 40_00

_FOLDER = Path("build/bench_backlog")
_VERSION = 1
_AGE_MS_MAX = 2 * 24 * 3600 * 1000
_SEED = 20_261_123


@dataclass(frozen=True, slots=True)
class BacklogBox:
    """One box: its name, what lets it through to the broker (certificate DER, key PEM), and its records in order."""

    terminal_id: TerminalId
    epoch: int
    link_certificate: bytes
    link_key: bytes
    records: tuple[bytes, ...]

    def cut(self, records: int) -> list[list[bytes]]:
        """The first ``records`` records, cut into batches as the uploader does."""
        return _cut(self.records[:records])


@dataclass(frozen=True, slots=True)
class Backlog:
    """``rows`` are the database's rows by table, before any of the records has arrived."""

    fingerprint: bytes
    made_ms: int
    rows: dict[str, list[dict[str, Any]]]
    boxes: tuple[BacklogBox, ...]

    @property
    def key_folder(self) -> Path:
        return _FOLDER / "keys"

    def load_into(self, engine: Engine) -> None:
        """Copy the rows into migrated, empty tables."""
        load_tables()
        with engine.begin() as connection:
            for table in Base.metadata.sorted_tables:
                rows = self.rows.get(table.name, [])
                for at in range(0, len(rows), 1_000):
                    connection.execute(table.insert(), rows[at : at + 1_000])


def get_backlog() -> Backlog:
    """Return the prepared backlog, making it where there is none that fits."""
    kept, now_ms = _FOLDER / "backlog.pickle", SystemClock().now_ms()
    if kept.exists():
        found: Backlog = pickle.loads(kept.read_bytes())
        if found.fingerprint == _fingerprint() and now_ms - found.made_ms < _AGE_MS_MAX:
            return found
    shutil.rmtree(_FOLDER, ignore_errors=True)
    _FOLDER.mkdir(parents=True)
    made = _make(now_ms)
    kept.write_bytes(pickle.dumps(made))
    return made


def _fingerprint() -> bytes:
    load_tables()
    columns = [(table.name, table.columns.keys()) for table in Base.metadata.sorted_tables]
    counts = (_VERSION, TERMINALS, RECORDS_EACH, MERCHANTS, PHONES, SALES_EVERY_S, FUNDS_MINOR)
    return hashlib.sha256(repr((counts, columns)).encode()).digest()


def _make(now_ms: int) -> Backlog:
    opened_ms = now_ms - (RECORDS_EACH + 2) * SALES_EVERY_S * 1000
    with tempfile.TemporaryDirectory() as name:
        world = CloudWorld(Path(name), clock=HandClock(opened_ms))
        try:
            shutil.copytree(world.cloud.settings.key_folder, _FOLDER / "keys")
            merchants = [world.merchant(f"Merchant {number}") for number in range(MERCHANTS)]
            boxes = [_enrol(world, merchants[number % MERCHANTS]) for number in range(TERMINALS)]
            phones = [world.phone(funds_minor=2 * FUNDS_MINOR, total_minor=FUNDS_MINOR) for _ in range(PHONES)]
            rows = run_transaction(world.engine, _dump)
        finally:
            world.close()
    return Backlog(_fingerprint(), now_ms, rows, _sign_all(boxes, phones))


@dataclass(frozen=True, slots=True)
class _Enrolled:
    box: FakeBox
    link_certificate: bytes
    link_key: bytes


def _enrol(world: CloudWorld, merchant_id: MerchantId) -> _Enrolled:
    board = NewBox(hardware_serial=f"board-{secrets.token_hex(4)}")
    code, now_ms = world.enrolment_code(merchant_id=merchant_id), world.clock.now_ms()
    encoded = run_transaction(
        world.engine, lambda session: world.enrolment.enrol(session, board.request(code), now_ms=now_ms)
    )
    answer = ENROLMENT_ANSWER.read(encoded) if isinstance(encoded, bytes) else None
    if answer is None or isinstance(answer, Refusal):
        raise RuntimeError(f"the bench's box was not enrolled: {encoded!r}")
    content = answer.content
    certificate = TERMINAL_CERTIFICATE.read(content.certificate)
    assert not isinstance(certificate, Refusal)
    terminal_id = certificate.content.terminal_id
    box = FakeBox(terminal_id, content.epoch, content.previous_hash, board.signing_key, world.clock)
    return _Enrolled(box, content.link_certificate, board.link_key_pem())


def _dump(session: Session) -> dict[str, list[dict[str, Any]]]:
    def rows_of(table: Table) -> list[dict[str, Any]]:
        return [dict(row) for row in session.execute(select(table)).mappings()]

    return {table.name: rows_of(table) for table in Base.metadata.sorted_tables}


_enrolled: list[_Enrolled] = []
_phones: list[FakePhone] = []


def _sign_all(enrolled: Sequence[_Enrolled], phones: Sequence[FakePhone]) -> tuple[BacklogBox, ...]:
    begins_ms = phones[0].clock.now_ms() + SALES_EVERY_S * 1000
    # The children inherit the keys, which cannot be sent to them, and send back what was signed.
    _enrolled[:], _phones[:] = enrolled, phones
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("fork")) as pool:
        return tuple(pool.map(partial(_sign_box, begins_ms=begins_ms), range(len(enrolled)), chunksize=8))


def _sign_box(number: int, *, begins_ms: int) -> BacklogBox:
    """Sign one box's chain: at each of its sales another phone pays, none twice in one second."""
    enrolled, draw = _enrolled[number], random.Random(_SEED + number)
    box = enrolled.box
    box.clock = HandClock()
    for sale in range(RECORDS_EACH):
        phone = _phones[(number + sale * TERMINALS) % PHONES]
        box.clock.wall_ms = begins_ms + sale * SALES_EVERY_S * 1000 + draw.randrange(SALES_EVERY_S * 1000)
        phone.clock = box.clock
        phone.last_counter = 0
        box.sale(phone.code(), draw.randrange(1_00, AMOUNT_MINOR_MAX))
    return BacklogBox(
        box.terminal_id,
        box.epoch,
        enrolled.link_certificate,
        enrolled.link_key,
        tuple(record.encode() for record in box.records),
    )


def _cut(records: Sequence[bytes]) -> list[list[bytes]]:
    """Cut as ``LoadRecords`` asks: so many records, and so many bytes, as one batch holds."""
    size_max = UploaderSettings().batch_size_max
    cuts: list[list[bytes]] = [[]]
    for record in records:
        size = sum(map(len, cuts[-1])) + len(record)
        if cuts[-1] and (len(cuts[-1]) == BATCH_RECORDS_MAX or size > size_max):
            cuts.append([])
        cuts[-1].append(record)
    return cuts
