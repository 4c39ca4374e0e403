"""The SQL of what is published to terminals: versions of the trust snapshot and of the policy, only ever appended."""

from dataclasses import dataclass

from sqlalchemy import Table, select
from sqlalchemy.orm import Session

from cloud.db import insert_new


@dataclass(frozen=True, slots=True)
class Published:
    """One version as it was signed; ``content_hash`` covers what it says besides version and times."""

    version: int
    issued_ms: int
    content_hash: bytes
    encoded: bytes


def newest(session: Session, table: Table) -> Published | None:
    """The version published last."""
    row = session.execute(select(table).order_by(table.c.version.desc()).limit(1)).one_or_none()
    return Published(row.version, row.issued_ms, row.content_hash, row.encoded) if row else None


def append(session: Session, table: Table, published: Published) -> bool:
    """Append; false where somebody has published that version meanwhile."""
    row = {
        "version": published.version,
        "issued_ms": published.issued_ms,
        "content_hash": published.content_hash,
        "encoded": published.encoded,
    }
    return insert_new(session, table, [row], key=("version",))[0]
