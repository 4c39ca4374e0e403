"""Every refusal a person at the counter can see has words and something to do."""

import pytest

from edge.words import words_of
from sync.refusals import Refusal

DAMAGED = {
    Refusal.OVERSIZED,
    Refusal.BAD_BASE45,
    Refusal.TRUNCATED,
    Refusal.TRAILING_BYTES,
    Refusal.NON_CANONICAL,
    Refusal.FORBIDDEN_CBOR,
    Refusal.WRONG_SHAPE,
    Refusal.OUT_OF_RANGE,
}
"""Nobody at a counter can tell these apart: they share one sentence."""
NEVER_OF_A_SALE = {
    Refusal.OLDER_THAN_HELD,
    Refusal.DELTA_BASE_MISMATCH,
    Refusal.UNKNOWN_NONCE,
    Refusal.WRONG_TERMINAL,
    Refusal.MESSAGE_EXPIRED,
    Refusal.CERTIFICATE_NOT_VALID,
    Refusal.REQUEST_EXPIRED,
    Refusal.CLOCK_NOT_BELIEVED,
}
"""Given by the link, by messages from the cloud, or by phones; no sale at a box ends with one yet."""


@pytest.mark.parametrize("refusal", Refusal)
def test_every_refusal_says_what_happened_and_what_to_do(refusal: Refusal) -> None:
    words = words_of(refusal)
    assert words.happened.endswith(".")
    assert words.to_do.endswith(".")
    assert refusal not in f"{words.happened} {words.to_do}"


@pytest.mark.parametrize("refusal", sorted(set(Refusal) - DAMAGED - NEVER_OF_A_SALE))
def test_what_a_sale_can_be_refused_for_has_words_of_its_own(refusal: Refusal) -> None:
    assert words_of(refusal) != words_of(Refusal.TRUNCATED)


@pytest.mark.parametrize("refusal", sorted(DAMAGED))
def test_a_damaged_code_is_one_that_could_not_be_read(refusal: Refusal) -> None:
    assert words_of(refusal).happened == "The code could not be read."
