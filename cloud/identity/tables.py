"""Logins, their roles and secrets, passkeys, access tokens, and the counts of attempts.

Nothing here lets anybody in who reads it: secrets are hashed behind a pepper that is not in the database, tokens are
stored as SHA-256 of 256 random bits, and the subject of an attempt is a hash, so that the e-mails that somebody tried
stand nowhere in the clear.
"""

from enum import StrEnum

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, String
from sqlmodel import Field

from cloud.db import MYSQL_OPTIONS, Base, SealedText, auto_id, fixed_bytes, one_of, table_of, variable_bytes
from cloud.identity.hashing import HASH_LENGTH_MAX, Purpose
from cloud.identity.mails import MailPurpose
from cloud.identity.passkeys import CREDENTIAL_ID_SIZE_MAX, NAME_LENGTH_MAX, PUBLIC_KEY_SIZE_MAX
from cloud.permissions import Role, TokenKind

LOGIN_ID_LENGTH = 13
SESSION_ID_LENGTH = 17
PASSKEY_ID_LENGTH = 13
MAIL_ID_LENGTH = 13
DEVICE_ID_LENGTH = 13
SCOPE_LENGTH_MAX = 16
REASON_LENGTH_MAX = 500
DETAIL_LENGTH_MAX = 200
EMAIL_LENGTH_MAX = 254


class LoginStatus(StrEnum):
    """Whether somebody may sign in; a suspension can be lifted, a block stays."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    BLOCKED = "blocked"


class AttemptPurpose(StrEnum):
    """What is counted: wrong passwords and PINs, and visits from one address."""

    PASSWORD = "password"  # noqa: S105 - a purpose, no password.
    PIN = "pin"
    ADDRESS = "address"


class Ceremony(StrEnum):
    """What the signature of a passkey is asked for."""

    REGISTER = "register"
    LOG_IN = "log_in"
    PROVE = "prove"


class LoginRow(Base, table=True):
    """One person who can sign in; the e-mail as ``passwords.spell_email`` spells it, so unique means unique."""

    __tablename__ = "logins"
    __table_args__ = (one_of("status", LoginStatus), MYSQL_OPTIONS)

    login_id: str = Field(sa_column=Column(String(LOGIN_ID_LENGTH), primary_key=True))
    email: str = Field(sa_column=Column(String(EMAIL_LENGTH_MAX), nullable=False, unique=True))
    status: str = Field(sa_column=Column(String(16), nullable=False))
    created_at_ms: int = Field(sa_column=Column(BigInteger, nullable=False))
    status_changed_ms: int = Field(sa_column=Column(BigInteger, nullable=False))
    email_verified_ms: int | None = Field(default=None, sa_column=Column(BigInteger, nullable=True))


class LoginRoleRow(Base, table=True):
    """One role of a login; ``scope`` is a wallet's id, a merchant's id in hexadecimal, or empty for operators."""

    __tablename__ = "login_roles"
    __table_args__ = (one_of("role", Role), Index(None, "scope"), MYSQL_OPTIONS)

    login_id: str = Field(sa_column=Column(String(LOGIN_ID_LENGTH), ForeignKey("logins.login_id"), primary_key=True))
    role: str = Field(sa_column=Column(String(16), primary_key=True))
    scope: str = Field(sa_column=Column(String(SCOPE_LENGTH_MAX), primary_key=True))


class LoginSecretRow(Base, table=True):
    """A login's password or PIN; ``pepper_id`` numbers the pepper that it was hashed with.

    ``version`` counts the person's changes of it; hashing the same secret anew is none.
    """

    __tablename__ = "login_secrets"
    __table_args__ = (one_of("purpose", Purpose), MYSQL_OPTIONS)

    login_id: str = Field(sa_column=Column(String(LOGIN_ID_LENGTH), ForeignKey("logins.login_id"), primary_key=True))
    purpose: str = Field(sa_column=Column(String(16), primary_key=True))
    secret_hash: str = Field(sa_column=Column(String(HASH_LENGTH_MAX), nullable=False))
    pepper_id: int = Field(sa_column=Column(Integer, nullable=False))
    version: int = Field(sa_column=Column(Integer, nullable=False))
    changed_at_ms: int = Field(sa_column=Column(BigInteger, nullable=False))


class PasskeyRow(Base, table=True):
    """One passkey of a login: the public half of a key that a phone or security key holds."""

    __tablename__ = "passkeys"
    __table_args__ = (MYSQL_OPTIONS,)

    passkey_id: str = Field(sa_column=Column(String(PASSKEY_ID_LENGTH), primary_key=True))
    login_id: str = Field(
        sa_column=Column(String(LOGIN_ID_LENGTH), ForeignKey("logins.login_id"), nullable=False, index=True)
    )
    credential_id: bytes = Field(sa_column=Column(variable_bytes(CREDENTIAL_ID_SIZE_MAX), nullable=False, unique=True))
    public_key: bytes = Field(sa_column=Column(variable_bytes(PUBLIC_KEY_SIZE_MAX), nullable=False))
    sign_count: int = Field(sa_column=Column(BigInteger, nullable=False))
    name: str = Field(sa_column=Column(String(NAME_LENGTH_MAX), nullable=False))
    created_at_ms: int = Field(sa_column=Column(BigInteger, nullable=False))
    last_used_ms: int | None = Field(default=None, sa_column=Column(BigInteger, nullable=True))


class ChallengeRow(Base, table=True):
    """A challenge that a passkey is to sign, by its hash; whoever uses it deletes the row first, so it is used once."""

    __tablename__ = "passkey_challenges"
    __table_args__ = (one_of("ceremony", Ceremony), Index(None, "expires_ms"), MYSQL_OPTIONS)

    challenge_hash: bytes = Field(sa_column=Column(fixed_bytes(32), primary_key=True))
    ceremony: str = Field(sa_column=Column(String(16), nullable=False))
    login_id: str | None = Field(default=None, sa_column=Column(String(LOGIN_ID_LENGTH), nullable=True))
    facts_hash: bytes | None = Field(default=None, sa_column=Column(fixed_bytes(32), nullable=True))
    expires_ms: int = Field(sa_column=Column(BigInteger, nullable=False))


class MailRow(Base, table=True):
    """A letter that somebody asked for, maybe to nobody; gone once it is sent, without ``due_ms`` if given up."""

    __tablename__ = "mails"
    __table_args__ = (one_of("purpose", MailPurpose), Index(None, "due_ms"), MYSQL_OPTIONS)

    mail_id: str = Field(sa_column=Column(String(MAIL_ID_LENGTH), primary_key=True))
    purpose: str = Field(sa_column=Column(String(16), nullable=False))
    email: str = Field(sa_column=Column(SealedText(4 * EMAIL_LENGTH_MAX), nullable=False))
    attempts_count: int = Field(sa_column=Column(Integer, nullable=False))
    created_at_ms: int = Field(sa_column=Column(BigInteger, nullable=False))
    due_ms: int | None = Field(default=None, sa_column=Column(BigInteger, nullable=True))


class MailTokenRow(Base, table=True):
    """What a letter's link lets somebody do, by the SHA-256 of its token; whoever uses it deletes the row."""

    __tablename__ = "mail_tokens"
    __table_args__ = (one_of("purpose", MailPurpose), Index(None, "expires_ms"), MYSQL_OPTIONS)

    token_hash: bytes = Field(sa_column=Column(fixed_bytes(32), primary_key=True))
    purpose: str = Field(sa_column=Column(String(16), nullable=False))
    login_id: str = Field(
        sa_column=Column(String(LOGIN_ID_LENGTH), ForeignKey("logins.login_id"), nullable=False, index=True)
    )
    expires_ms: int = Field(sa_column=Column(BigInteger, nullable=False))


class AccessTokenRow(Base, table=True):
    """One login session; the token itself is known to its bearer only, ``session_id`` names it to people."""

    __tablename__ = "access_tokens"
    __table_args__ = (one_of("kind", TokenKind), Index(None, "expires_ms"), MYSQL_OPTIONS)

    token_hash: bytes = Field(sa_column=Column(fixed_bytes(32), primary_key=True))
    session_id: str = Field(sa_column=Column(String(SESSION_ID_LENGTH), nullable=False, unique=True))
    login_id: str = Field(
        sa_column=Column(String(LOGIN_ID_LENGTH), ForeignKey("logins.login_id"), nullable=False, index=True)
    )
    kind: str = Field(sa_column=Column(String(16), nullable=False))
    created_at_ms: int = Field(sa_column=Column(BigInteger, nullable=False))
    last_used_ms: int = Field(sa_column=Column(BigInteger, nullable=False))
    expires_ms: int = Field(sa_column=Column(BigInteger, nullable=False))
    revoked_at_ms: int | None = Field(default=None, sa_column=Column(BigInteger, nullable=True))
    device_id: str | None = Field(default=None, sa_column=Column(String(DEVICE_ID_LENGTH), nullable=True, index=True))


class AttemptRow(Base, table=True):
    """How often somebody tried; ``subject`` is a SHA-256 of whom or what is counted."""

    __tablename__ = "sign_in_attempts"
    __table_args__ = (one_of("purpose", AttemptPurpose), Index(None, "since_ms"), MYSQL_OPTIONS)

    subject: bytes = Field(sa_column=Column(fixed_bytes(32), primary_key=True))
    purpose: str = Field(sa_column=Column(String(16), primary_key=True))
    attempts_count: int = Field(sa_column=Column(Integer, nullable=False))
    since_ms: int = Field(sa_column=Column(BigInteger, nullable=False))
    locked_until_ms: int = Field(sa_column=Column(BigInteger, nullable=False))


class ActionRow(Base, table=True):
    """What somebody did to a merchant or a wallet by the power of their role, and why."""

    __tablename__ = "role_actions"
    __table_args__ = (Index(None, "subject", "subject_id", "done_at_ms"), MYSQL_OPTIONS)

    id: int | None = Field(default=None, sa_column=auto_id())
    login_id: str = Field(sa_column=Column(String(LOGIN_ID_LENGTH), ForeignKey("logins.login_id"), nullable=False))
    subject: str = Field(sa_column=Column(String(16), nullable=False))
    subject_id: str = Field(sa_column=Column(String(SCOPE_LENGTH_MAX), nullable=False))
    action: str = Field(sa_column=Column(String(32), nullable=False))
    reason: str = Field(sa_column=Column(String(REASON_LENGTH_MAX), nullable=False))
    detail: str = Field(sa_column=Column(String(DETAIL_LENGTH_MAX), nullable=False))
    done_at_ms: int = Field(sa_column=Column(BigInteger, nullable=False))


LOGINS = table_of(LoginRow)
LOGIN_ROLES = table_of(LoginRoleRow)
LOGIN_SECRETS = table_of(LoginSecretRow)
MAILS = table_of(MailRow)
MAIL_TOKENS = table_of(MailTokenRow)
PASSKEYS = table_of(PasskeyRow)
CHALLENGES = table_of(ChallengeRow)
ACCESS_TOKENS = table_of(AccessTokenRow)
ATTEMPTS = table_of(AttemptRow)
ACTIONS = table_of(ActionRow)
