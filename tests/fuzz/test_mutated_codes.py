"""Mutated payment codes: none is accepted, none raises, each is refused by name, and enough reach the signatures.

``TILLBOX_FUZZ_SEED`` gives other codes than every day's; a failure prints the seed that repeats it.
"""

import os
from pathlib import Path

import pytest

from sync.payment_code import decode_payment_code
from sync.qr_text import QrPrefix, to_text
from sync.refusals import Refusal
from tests.counts import count
from tests.fakes.signed_world import NOW_S
from tests.fuzz.base_codes import REQUEST_HASH, base_codes
from tests.fuzz.mutations import MUTATIONS
from tests.fuzz.runner import AGE_S, AHEAD_S, CodeAcceptedError, Runner
from tests.fuzz.stranger import Stranger

SHARDS = 8
"""Items for the test runner, so that all cores take part."""
CODES = count(reduced=200_000, full=1_000_000)
SEED = os.environ.get("TILLBOX_FUZZ_SEED", "every day")
REACHED_SHARE_MIN = 0.10
DISTRIBUTIONS = Path(__file__).resolve().parents[2] / "build" / "mutated_codes"

NEVER_BY_A_CODE = {
    Refusal.SIGNATURE_INVALID,
    Refusal.REQUEST_EXPIRED,
    Refusal.WRONG_TERMINAL,
    Refusal.OLDER_THAN_HELD,
    Refusal.DELTA_BASE_MISMATCH,
    Refusal.SNAPSHOT_EXPIRED,
    Refusal.POLICY_EXPIRED,
    Refusal.CERTIFICATE_NOT_VALID,
    Refusal.MESSAGE_EXPIRED,
    Refusal.UNKNOWN_NONCE,
}
"""Refusals of parsing and verifying that belong to other messages."""
OF_A_CODE = set(list(Refusal)[: list(Refusal).index(Refusal.AMOUNT_INVALID)]) - NEVER_BY_A_CODE


def test_every_base_code_is_genuine_before_it_is_mutated() -> None:
    codes = base_codes()
    runner = Runner("genuine")
    stranger = Stranger(codes.grant_keys(), age_s=AGE_S, ahead_s=AHEAD_S)
    assert len(codes.genuine) == len(codes.bases)
    for base in codes.bases:
        assert runner.refusal_of(base.raw) is None
        assert runner.refusal_of(to_text(QrPrefix.PAYMENT_CODE, base.raw)) is None
        assert stranger.accepts_raw(base.raw, now_s=NOW_S, request_hash=REQUEST_HASH)
        assert decode_payment_code(base.raw) == base.code


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("shard", range(SHARDS))
def test_no_mutated_code_is_accepted_and_none_raises(shard: int, capsys: pytest.CaptureFixture[str]) -> None:
    tally = Runner(f"{SEED}/{shard}").run(CODES // SHARDS)
    distribution = "\n".join(tally.lines()) + "\n"
    with capsys.disabled():
        print("\n" + distribution)
    # Where the runner spreads items over processes, what they print is lost.
    DISTRIBUTIONS.mkdir(parents=True, exist_ok=True)
    (DISTRIBUTIONS / f"shard_{shard}.txt").write_text(distribution, encoding="utf-8")
    assert tally.judged == CODES // SHARDS
    assert tally.reached_signature >= REACHED_SHARE_MIN * tally.judged
    assert set(tally.refusals) == OF_A_CODE
    assert set(tally.mutations) == {mutation.__name__ for mutation in MUTATIONS}


def test_a_code_that_is_accepted_is_reported_with_its_seed() -> None:
    """The runner must notice: here it is given a genuine code as if it were a mutated one."""
    runner = Runner("forgotten")
    raw = base_codes().bases[0].raw
    with pytest.raises(CodeAcceptedError, match="seed 'forgotten', number 0, by_hand: was accepted: 87"):
        runner.must_refuse(raw, "by_hand")
