"""``docs/wire_format.md`` says what the code does, and the verifier written from it alone agrees on every vector."""

from typing import Any

import pytest

from sync.envelope import SignedType
from sync.qr_text import QrPrefix, to_text
from sync.refusals import Refusal
from tests.fakes.signed_examples import ALL_KINDS
from tests.fuzz.stranger import Stranger
from tests.vectors import load
from tests.wire_format.meanings import SIGNED_BY, left_over, meaning_of
from tests.wire_format.page import PAGE, PARTS, qr_version, renewed
from tests.wire_format.refusal_meanings import REFUSAL_MEANINGS

TEXT = PAGE.read_text(encoding="utf-8")
CODES = load("payment_code")


def test_the_made_parts_are_as_they_are_made() -> None:
    assert renewed(TEXT) == TEXT, "the page is behind the code: python -m tests.wire_format --write"


def test_every_part_stands_on_the_page_with_the_command_that_makes_it() -> None:
    for name in PARTS:
        assert f"<!-- begin {name}, made by python -m tests.wire_format --write -->" in TEXT


def test_every_field_has_its_meaning_and_nothing_else_has_one() -> None:
    for kind, message in ALL_KINDS.items():
        for field in message.layout.fields:
            assert meaning_of(kind, field.name)
    assert left_over() == set()


def test_every_signed_type_has_its_signer_and_every_refusal_its_meaning_and_place() -> None:
    assert set(SIGNED_BY) == set(SignedType)
    assert set(REFUSAL_MEANINGS) == set(Refusal)
    for refusal in Refusal:
        assert f"| `{refusal}` | " in TEXT


def test_the_example_is_the_vector() -> None:
    case = next(each for each in CODES["cases"] if each["name"] == "one_way")
    example = TEXT.partition("## 11")[2]
    blocks = [block.removeprefix("text\n") for block in example.split("```")[1::2]]
    assert blocks[0].replace("\n", "") == case["text"]
    raw = "".join(line.partition("  ")[0] for line in blocks[1].split("\n"))
    assert raw.replace(" ", "") == case["raw"]


@pytest.mark.parametrize(
    "prefix, size, version",
    [(QrPrefix.PAYMENT_CODE, 240, 11), (QrPrefix.PAYMENT_REQUEST, 319, 13), (QrPrefix.RECEIPT, 319, 13)],
)
def test_codes_at_their_limit_stay_within_their_qr_version(prefix: QrPrefix, size: int, version: int) -> None:
    assert qr_version(to_text(prefix, b"\xff" * size)) == version


@pytest.mark.parametrize("case", [pytest.param(case, id=case["name"]) for case in CODES["cases"]])
def test_the_stranger_agrees_on_every_vector(case: dict[str, Any]) -> None:
    stranger = Stranger(CODES["grant_keys"], age_s=CODES["age_s_max"], ahead_s=CODES["ahead_s_max"])
    request_hash = None if case["request_hash"] is None else bytes.fromhex(case["request_hash"])
    accepted = stranger.accepts(case["text"], now_s=case["now_s"], request_hash=request_hash)
    assert accepted == (case["refusal"] is None)


def test_the_stranger_knows_nothing_of_ours() -> None:
    source = (PAGE.parents[1] / "tests" / "fuzz" / "stranger.py").read_text(encoding="utf-8")
    imported = [line for line in source.splitlines() if line.startswith(("import ", "from "))]
    assert not [
        line for line in imported if line.split()[1].split(".")[0] in ("sync", "edge", "cloud", "tests", "base45")
    ]


def test_every_time_on_the_wire_says_its_unit_and_codes_carry_seconds() -> None:
    shown_as_code = {
        SignedType.GRANT,
        SignedType.PAYMENT_REQUEST,
        SignedType.APPROVAL,
        SignedType.TERMINAL_CERTIFICATE,
    }
    for kind, message in ALL_KINDS.items():
        for field in message.layout.fields:
            assert not field.name.endswith(("_at", "_time", "issued", "expires", "not_before", "not_after"))
            assert not (field.name.endswith("_ms") and kind in shown_as_code), (kind, field.name)
