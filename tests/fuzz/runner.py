"""Mutates, judges and counts; a code that is accepted or an exception ends the run with everything to repeat it."""

import random
from collections import Counter
from dataclasses import dataclass, field

from sync.ids import KeyId
from sync.keys import PublicKey
from sync.payment_code import (
    PaymentCode,
    check_request,
    check_times,
    decode_payment_code,
    read_payment_code,
    verify_signatures,
)
from sync.qr_text import QrPrefix, to_text
from sync.refusals import Refusal
from tests.fakes.signed_world import NOW_S
from tests.fuzz.base_codes import REQUEST_HASH, BaseCodes, base_codes
from tests.fuzz.draw import Draw
from tests.fuzz.mutations import MUTATIONS
from tests.fuzz.stranger import Stranger

AGE_S, AHEAD_S = 60, 30
AS_TEXT_EVERY = 10
"""One in so many raw mutations takes the whole way through base45."""
STRANGER_EVERY = 20
"""One in so many is judged by the independent verifier too."""


class CodeAcceptedError(AssertionError):
    """A mutated code was accepted, raised, or was judged otherwise by the stranger."""


@dataclass(slots=True)
class Tally:
    """What became of the mutated codes."""

    refusals: Counter[Refusal] = field(default_factory=Counter)
    mutations: Counter[str] = field(default_factory=Counter)
    reached_signature: int = 0
    unchanged: int = 0
    judged_by_the_stranger: int = 0

    @property
    def judged(self) -> int:
        return self.refusals.total()

    def lines(self) -> list[str]:
        """Return the distribution as text."""
        share = 100 * self.reached_signature / max(1, self.judged)
        head = (
            f"{self.judged} mutated codes refused, {self.reached_signature} ({share:.1f} %) at or behind a signature"
            f" check, {self.unchanged} unchanged, {self.judged_by_the_stranger} judged by the stranger as well"
        )
        return [head, *(f"  {refusal:<26} {number:>8}" for refusal, number in self.refusals.most_common())]


class Runner:
    """One seeded run over the base codes."""

    def __init__(self, seed: str) -> None:
        self._seed = seed
        self._rng = random.Random(seed)
        self._codes: BaseCodes = base_codes()
        self._genuine_texts = {to_text(QrPrefix.PAYMENT_CODE, raw) for raw in self._codes.genuine}
        self._stranger = Stranger(self._codes.grant_keys(), age_s=AGE_S, ahead_s=AHEAD_S)
        self._mutations, self._weights = tuple(MUTATIONS), tuple(MUTATIONS.values())
        self._issuers_found = 0
        self.tally = Tally()

    def run(self, count: int) -> Tally:
        """Judge ``count`` mutated codes; raises ``CodeAcceptedError`` at the first that is not refused by name."""
        while self.tally.judged < count:
            for mutation in self._rng.choices(self._mutations, self._weights, k=min(1000, count - self.tally.judged)):
                base, other = self._rng.choice(self._codes.bases), self._rng.choice(self._codes.bases)
                made = mutation(Draw(self._rng, base, other, self._codes))
                self._judge(made, mutation.__name__)
        return self.tally

    def _judge(self, made: bytes | str, name: str) -> None:
        if made in self._codes.genuine or made in self._genuine_texts:
            self.tally.unchanged += 1
            return
        if isinstance(made, bytes) and self.tally.judged % AS_TEXT_EVERY == 0:
            made = to_text(QrPrefix.PAYMENT_CODE, made)
        self.must_refuse(made, name)

    def must_refuse(self, made: bytes | str, name: str) -> None:
        """Judge and count one code; raises ``CodeAcceptedError`` unless it is refused by name."""
        found_before = self._issuers_found
        try:
            refusal = self.refusal_of(made)
        except Exception as error:
            raise CodeAcceptedError(self._repeat(made, name, f"raised {error!r}")) from error
        if not isinstance(refusal, Refusal):
            raise CodeAcceptedError(self._repeat(made, name, "was accepted"))
        if self.tally.judged % STRANGER_EVERY == 0:
            self._ask_the_stranger(made, name)
        self.tally.refusals[refusal] += 1
        self.tally.mutations[name] += 1
        self.tally.reached_signature += self._issuers_found > found_before

    def refusal_of(self, made: bytes | str) -> Refusal | None:
        """The whole way of a code at a box: the first refusal, or ``None`` for a genuine one."""
        code = read_payment_code(made) if isinstance(made, str) else decode_payment_code(made)
        if not isinstance(code, PaymentCode):
            return code
        return (
            verify_signatures(code, self._find_issuer)
            or check_times(code, now_s=NOW_S, age_s_max=AGE_S, ahead_s_max=AHEAD_S)
            or check_request(code, request_hash=REQUEST_HASH)
        )

    def _find_issuer(self, key_id: KeyId, at_ms: int) -> PublicKey | Refusal:
        """Count where an issuer is found for the grant's last moment: what follows is the signature check."""
        found = self._codes.find_issuer(key_id, at_ms)
        self._issuers_found += isinstance(found, PublicKey) and at_ms % 1000 == 999
        return found

    def _ask_the_stranger(self, made: bytes | str, name: str) -> None:
        if isinstance(made, str):
            accepted = self._stranger.accepts(made, now_s=NOW_S, request_hash=REQUEST_HASH)
        else:
            accepted = self._stranger.accepts_raw(made, now_s=NOW_S, request_hash=REQUEST_HASH)
        if accepted:
            raise CodeAcceptedError(self._repeat(made, name, "was accepted by the stranger, refused by us"))
        self.tally.judged_by_the_stranger += 1

    def _repeat(self, made: bytes | str, name: str, what: str) -> str:
        shown = made if isinstance(made, str) else made.hex()
        return f"seed {self._seed!r}, number {self.tally.judged}, {name}: {what}: {shown}"
