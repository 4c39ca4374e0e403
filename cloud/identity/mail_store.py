"""SQL of letters that wait to be sent, and of the tokens in them."""

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from cloud.db import Place, insert_all, vault_of, where_keys
from cloud.identity.mails import MailPurpose
from cloud.identity.tables import MAIL_TOKENS, MAILS


@dataclass(frozen=True, slots=True)
class Mail:
    """A letter that was asked for; ``email`` may be nobody's."""

    mail_id: str
    purpose: MailPurpose
    email: str
    created_at_ms: int
    due_ms: int
    attempts_count: int = 0


def insert_mail(session: Session, mail: Mail) -> None:
    """Keep a letter that is to be sent."""
    row = {
        "mail_id": mail.mail_id,
        "purpose": mail.purpose.value,
        "email": vault_of(session).seal(mail.email, _email_of(mail.mail_id)),
        "attempts_count": mail.attempts_count,
        "created_at_ms": mail.created_at_ms,
        "due_ms": mail.due_ms,
    }
    insert_all(session, MAILS, [row])


def find_due(session: Session, *, now_ms: int) -> Mail | None:
    """The letter that is due the longest."""
    is_due = MAILS.c.due_ms <= now_ms
    row = session.execute(select(MAILS).where(is_due).order_by(MAILS.c.due_ms, MAILS.c.mail_id).limit(1)).one_or_none()
    if row is None:
        return None
    return Mail(
        mail_id=row.mail_id,
        purpose=MailPurpose(row.purpose),
        email=vault_of(session).open(row.email, _email_of(row.mail_id)),
        created_at_ms=row.created_at_ms,
        due_ms=row.due_ms,
        attempts_count=row.attempts_count,
    )


def claim(session: Session, mail: Mail, *, next_try_ms: int | None) -> bool:
    """Count an attempt before it is made; false where another process has. Without a next try it is the last one."""
    is_as_read = (MAILS.c.mail_id == mail.mail_id) & (MAILS.c.attempts_count == mail.attempts_count)
    counted = MAILS.update().where(is_as_read).values(attempts_count=mail.attempts_count + 1, due_ms=next_try_ms)
    return session.connection().execute(counted).rowcount == 1


def delete_mail(session: Session, mail_id: str) -> None:
    """Forget a letter that was sent, or that nobody is to get."""
    session.execute(MAILS.delete().where(MAILS.c.mail_id == mail_id))


def delete_failed(session: Session, *, before_ms: int, rows_max: int) -> int:
    """Delete letters that were given up and asked for before that time; answers how many."""
    is_old = MAILS.c.due_ms.is_(None) & (MAILS.c.created_at_ms < before_ms)
    keys = session.execute(select(MAILS.c.mail_id).where(is_old).limit(rows_max)).scalars().all()
    for condition in where_keys(MAILS, key=("mail_id",), keys=[(each,) for each in keys]):
        session.execute(MAILS.delete().where(condition))
    return len(keys)


def insert_token(session: Session, token_hash: bytes, *, purpose: MailPurpose, login_id: str, expires_ms: int) -> None:
    """Keep the hash of a token that is being sent."""
    row = {"token_hash": token_hash, "purpose": purpose.value, "login_id": login_id, "expires_ms": expires_ms}
    insert_all(session, MAIL_TOKENS, [row])


def find_owner(session: Session, token_hash: bytes, purpose: MailPurpose, *, now_ms: int) -> str | None:
    """Whose token it is; None where it is unknown, for something else, used or over."""
    is_meant = (MAIL_TOKENS.c.token_hash == token_hash) & (MAIL_TOKENS.c.purpose == purpose.value)
    found = select(MAIL_TOKENS.c.login_id).where(is_meant & (MAIL_TOKENS.c.expires_ms > now_ms))
    return session.execute(found).scalar_one_or_none()


def take_token(session: Session, token_hash: bytes, purpose: MailPurpose, *, now_ms: int) -> str | None:
    """Take a token away with all others of its kind for that login; answers whose it was, as ``find_owner``."""
    login_id = find_owner(session, token_hash, purpose, now_ms=now_ms)
    if login_id is None:
        return None
    is_taken = session.connection().execute(MAIL_TOKENS.delete().where(MAIL_TOKENS.c.token_hash == token_hash)).rowcount
    if is_taken != 1:
        return None
    delete_tokens(session, login_id, purpose)
    return login_id


def delete_tokens(session: Session, login_id: str, purpose: MailPurpose) -> None:
    """Make every link of this kind for a login worthless."""
    is_meant = (MAIL_TOKENS.c.login_id == login_id) & (MAIL_TOKENS.c.purpose == purpose.value)
    session.execute(MAIL_TOKENS.delete().where(is_meant))


def delete_expired(session: Session, *, now_ms: int, rows_max: int) -> int:
    """Delete tokens whose time is over; answers how many."""
    is_over = MAIL_TOKENS.c.expires_ms <= now_ms
    keys = session.execute(select(MAIL_TOKENS.c.token_hash).where(is_over).limit(rows_max)).scalars().all()
    for condition in where_keys(MAIL_TOKENS, key=("token_hash",), keys=[(each,) for each in keys]):
        session.execute(MAIL_TOKENS.delete().where(condition))
    return len(keys)


def _email_of(mail_id: str) -> Place:
    return Place(MAILS.name, "email", mail_id)
