"""Money: an integer count of minor units and an ISO 4217 currency, so that no float can touch it."""

from dataclasses import dataclass

RATE_BASE = 1_000_000
"""Rates are integers in parts per million: 2.00 % is 20 000."""


class CurrencyMismatchError(ValueError):
    """Two amounts of different currencies met in one calculation: a bug, never a customer's fault."""


@dataclass(frozen=True, slots=True)
class Money:
    """An amount of one currency. ``amount_minor`` counts minor units (cents); it may be negative in a posting.

    ``currency`` is the ISO 4217 alphabetic code, three capital letters. Two-digit minor units are assumed in
    ``__str__`` only.
    """

    amount_minor: int
    currency: str

    def __post_init__(self) -> None:
        if type(self.amount_minor) is not int:
            raise TypeError("amount_minor must be an int in minor units")
        if len(self.currency) != 3 or not (
            self.currency.isascii() and self.currency.isalpha() and self.currency.isupper()
        ):
            raise ValueError("currency must be an ISO 4217 alphabetic code")

    def _same(self, other: "Money") -> None:
        if self.currency != other.currency:
            raise CurrencyMismatchError(f"{self.currency} met {other.currency}")

    def __add__(self, other: "Money") -> "Money":
        self._same(other)
        return Money(self.amount_minor + other.amount_minor, self.currency)

    def __sub__(self, other: "Money") -> "Money":
        self._same(other)
        return Money(self.amount_minor - other.amount_minor, self.currency)

    def __neg__(self) -> "Money":
        return Money(-self.amount_minor, self.currency)

    def __lt__(self, other: "Money") -> bool:
        self._same(other)
        return self.amount_minor < other.amount_minor

    def __le__(self, other: "Money") -> bool:
        self._same(other)
        return self.amount_minor <= other.amount_minor

    def __bool__(self) -> bool:
        return self.amount_minor != 0

    def split_rate(self, *, rate_ppm: int) -> tuple["Money", "Money"]:
        """Split into (the share of ``rate_ppm`` parts per million, the rest); the sum is exactly the whole.

        The share is rounded half up to a minor unit and the rest carries the remainder. Only for amounts ≥ 0 and
        0 ≤ ``rate_ppm`` ≤ 1 000 000, else ``ValueError``.
        """
        if self.amount_minor < 0 or not 0 <= rate_ppm <= RATE_BASE:
            raise ValueError("a share is taken of an amount >= 0 at a rate of 0 to 1 000 000 ppm")
        share = (self.amount_minor * rate_ppm + RATE_BASE // 2) // RATE_BASE
        return Money(share, self.currency), Money(self.amount_minor - share, self.currency)

    def __str__(self) -> str:
        sign = "-" if self.amount_minor < 0 else ""
        units, cents = divmod(abs(self.amount_minor), 100)
        return f"{sign}{units}.{cents:02d} {self.currency}"
