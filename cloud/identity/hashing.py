"""Argon2id over a peppered text, a bounded number at once.

Argon2 takes a core and 19 MiB for some tens of milliseconds. Two evaluations run at a time; sixteen more may wait, and
who comes behind them is told to come again, so that guesses never hold the threads that answer everybody else. The
library gives up Python's lock while it works, so the calling thread is as good as a pool's.

Parameters: OWASP Password Storage Cheat Sheet, Argon2id with 19 MiB, 2 passes, 1 lane. RFC 9106's smaller choice takes
64 MiB and four lanes; with attempts limited and the pepper apart from the database, that buys less than it costs at a
counter where people wait for their PIN.
"""

import hashlib
import hmac
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError

from cloud.errors import SignInBusyError
from cloud.identity.passwords import spell_password
from cloud.identity.peppers import PepperError, Peppers

AT_ONCE_MAX = 2
TURNS_MAX = 18
HASH_LENGTH_MAX = 128


class Purpose(StrEnum):
    """What a secret is for; the same text as password and as PIN has nothing in common."""

    PASSWORD = "password"  # noqa: S105 - a purpose, no password.
    PIN = "pin"


@dataclass(frozen=True, slots=True)
class SecretHash:
    """A password or PIN as stored."""

    text: str
    pepper_id: int


@dataclass(frozen=True, slots=True)
class Cost:
    """Argon2id's parameters: memory in KiB, passes, lanes."""

    memory_kib: int = 19_456
    passes: int = 2
    lanes: int = 1


class Hasher:
    """Hashes and verifies for one process, safe between threads; ``turn`` goes around whatever does either."""

    def __init__(
        self,
        peppers: Peppers | None,
        *,
        cost: Cost = Cost(),
        at_once_max: int = AT_ONCE_MAX,
        turns_max: int = TURNS_MAX,
    ) -> None:
        self._peppers = peppers
        self._argon2 = PasswordHasher(time_cost=cost.passes, memory_cost=cost.memory_kib, parallelism=cost.lanes)
        self._at_once = threading.Semaphore(at_once_max)
        self._turns = threading.Semaphore(turns_max)
        self._nobodys = None if peppers is None else self.hash(Purpose.PASSWORD, secrets.token_urlsafe(16))

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Take one of the bounded turns, before any attempt is counted; raises ``SignInBusyError`` at once."""
        if not self._turns.acquire(blocking=False):
            raise SignInBusyError("too many people sign in at once; try again in a moment")
        try:
            yield
        finally:
            self._turns.release()

    def hash(self, purpose: Purpose, text: str) -> SecretHash:
        """Hash a secret with the newest pepper; raises ``PepperError``."""
        pepper_id = self._present().newest
        peppered = self._pepper(purpose, text, pepper_id)
        with self._at_once:
            return SecretHash(self._argon2.hash(peppered), pepper_id)

    def is_right(self, stored: SecretHash | None, purpose: Purpose, text: str) -> bool:
        """Verify a secret; nobody's (None) costs as much and is always wrong. Raises ``PepperError``."""
        compared = stored or self._nobodys
        if compared is None:
            compared = self.hash(purpose, secrets.token_urlsafe(16))
        peppered = self._pepper(purpose, text, compared.pepper_id)
        with self._at_once:
            try:
                self._argon2.verify(compared.text, peppered)
            except VerifyMismatchError:
                return False
            except (VerificationError, InvalidHashError) as error:
                raise PepperError("secret_damaged", "a stored hash cannot be read; the rows were changed") from error
        return stored is not None

    def is_outdated(self, stored: SecretHash) -> bool:
        """Tell whether pepper or parameters have changed since, so that it is to be hashed anew."""
        return stored.pepper_id != self._present().newest or self._argon2.check_needs_rehash(stored.text)

    def require_pepper(self, stored: SecretHash | None) -> None:
        """Raise ``PepperError`` where ``stored`` could not be evaluated here, before the attempt is counted."""
        self._present().key(self._present().newest if stored is None else stored.pepper_id)

    def _pepper(self, purpose: Purpose, text: str, pepper_id: int) -> bytes:
        message = f"{purpose.value}:{spell_password(text)}".encode("utf-8", errors="surrogatepass")
        return hmac.digest(self._present().key(pepper_id), message, hashlib.sha256)

    def _present(self) -> Peppers:
        if self._peppers is None:
            raise PepperError("pepper_missing", "this host has no peppers; tillbox cloud make-pepper, or copy the file")
        return self._peppers
