"""The step that lets merchants apply keeps every row that was there, on real MariaDB and on embedded SQLite."""

from pathlib import Path

import pytest
from sqlalchemy import Engine, insert, select, text
from sqlalchemy.exc import DBAPIError

from cloud.db import make_engine, upgrade
from cloud.merchants.tables import MERCHANTS, SITES

BEFORE = "0005"


def merchant(merchant_id: bytes, status: str) -> dict[str, object]:
    return {
        "merchant_id": merchant_id,
        "name": "Café",
        "category": "food",
        "commission_ppm": 20_000,
        "status": status,
        "currency": "EUR",
        "is_verified": True,
        "created_at_ms": 1,
    }


def insert_into(engine: Engine, status: str, *, number: int) -> None:
    with engine.begin() as connection:
        connection.execute(insert(MERCHANTS), [merchant(bytes([number]) * 8, status)])


@pytest.mark.parametrize("database", ["sqlite", "mariadb"])
def test_a_merchant_with_a_site_stays_and_new_statuses_are_let_in(
    request: pytest.FixtureRequest, tmp_path: Path, database: str
) -> None:
    is_embedded = database == "sqlite"
    url = f"sqlite:///{tmp_path / 'cloud.sqlite3'}" if is_embedded else str(request.getfixturevalue("mariadb_url"))
    upgrade(url, revision=BEFORE)
    engine = make_engine(url)
    insert_into(engine, "active", number=1)
    with engine.begin() as connection:
        site = {"site_id": bytes(8), "merchant_id": b"\1" * 8, "name": "Main street", "created_at_ms": 1}
        connection.execute(insert(SITES), [site])
    with pytest.raises(DBAPIError):
        insert_into(engine, "applied", number=2)
    upgrade(url)
    insert_into(engine, "applied", number=2)
    with pytest.raises(DBAPIError):
        insert_into(engine, "gone", number=3)
    with engine.connect() as connection:
        assert [row.status for row in connection.execute(select(MERCHANTS).order_by(MERCHANTS.c.merchant_id))] == [
            "active",
            "applied",
        ]
        assert len(connection.execute(select(SITES)).all()) == 1
        if is_embedded:
            assert connection.execute(text("PRAGMA integrity_check")).scalar_one() == "ok"
            assert connection.execute(text("PRAGMA foreign_key_check")).all() == []
    engine.dispose()
