"""The rules of top-ups, webhooks and statements as tables, every border and every refusal."""

import pytest

from cloud.wallets import webhook
from cloud.wallets.funding import (
    EventEffect,
    ProviderWord,
    Step,
    TopUpMethod,
    TopUpStatus,
    input_hash,
    is_card_number,
    step,
)
from cloud.wallets.provider import Charge
from cloud.wallets.sandbox import Sandbox
from cloud.wallets.statement import DAY_MS, csv_rows, day_start_ms, reference_of, safe_cell
from cloud.wallets.webhook import WebhookRefusal
from sync.money import Money

REQUESTED, SUCCEEDED, DECLINED, EXPIRED = TopUpStatus
APPLIED, REPEATED, CONTRADICTS = EventEffect.APPLIED, EventEffect.REPEATED, EventEffect.CONTRADICTS
EUR = Money(50_00, "EUR")

# The example of the specification's reference libraries.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
MESSAGE_ID, TIME_S, BODY = "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize(
    ("status", "word", "expected"),
    [
        (REQUESTED, ProviderWord.PENDING, Step(REQUESTED, REPEATED)),
        (REQUESTED, ProviderWord.SUCCEEDED, Step(SUCCEEDED, APPLIED, is_credited=True)),
        (REQUESTED, ProviderWord.DECLINED, Step(DECLINED, APPLIED)),
        (SUCCEEDED, ProviderWord.PENDING, Step(SUCCEEDED, REPEATED)),
        (SUCCEEDED, ProviderWord.SUCCEEDED, Step(SUCCEEDED, REPEATED)),
        (SUCCEEDED, ProviderWord.DECLINED, Step(SUCCEEDED, CONTRADICTS)),
        (DECLINED, ProviderWord.PENDING, Step(DECLINED, REPEATED)),
        (DECLINED, ProviderWord.SUCCEEDED, Step(DECLINED, CONTRADICTS)),
        (DECLINED, ProviderWord.DECLINED, Step(DECLINED, REPEATED)),
        (EXPIRED, ProviderWord.PENDING, Step(EXPIRED, REPEATED)),
        (EXPIRED, ProviderWord.SUCCEEDED, Step(SUCCEEDED, APPLIED, is_credited=True)),
        (EXPIRED, ProviderWord.DECLINED, Step(EXPIRED, REPEATED)),
    ],
)
def test_what_the_providers_word_makes_of_a_top_up(status: TopUpStatus, word: ProviderWord, expected: Step) -> None:
    assert step(status, word) == expected


def test_only_a_step_to_success_credits() -> None:
    for status in TopUpStatus:
        for word in ProviderWord:
            taken = step(status, word)
            assert taken.is_credited == (status is not SUCCEEDED and taken.status is SUCCEEDED)


def test_contents_are_told_apart_by_each_of_their_parts() -> None:
    hashes = {
        input_hash(EUR, TopUpMethod.CARD, "a"),
        input_hash(Money(50_01, "EUR"), TopUpMethod.CARD, "a"),
        input_hash(Money(50_00, "USD"), TopUpMethod.CARD, "a"),
        input_hash(EUR, TopUpMethod.BANK, "a"),
        input_hash(EUR, TopUpMethod.CARD, "b"),
    }
    assert len(hashes) == 5
    assert input_hash(EUR, TopUpMethod.CARD, "a") in hashes


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("4111111111111111", True),
        ("4111 1111 1111 1111", True),
        ("4111-1111-1111-1111", True),
        ("1" * 12, True),
        ("1" * 19, True),
        ("1" * 11, False),
        ("1" * 20, False),
        ("tok_4111111111111111", False),
        ("", False),
    ],
)
def test_a_card_number_is_known_when_it_is_sent(text: str, expected: bool) -> None:
    assert is_card_number(text) is expected


def signed(**changes: str) -> dict[str, str]:
    return {"webhook-id": MESSAGE_ID, "webhook-timestamp": str(TIME_S), "webhook-signature": SIGNATURE} | changes


def test_the_specifications_own_example_holds_and_is_what_we_sign() -> None:
    key = webhook.parse_secret(SECRET)
    assert key is not None
    assert webhook.sign(key, event_id=MESSAGE_ID, time_s=TIME_S, body=BODY) == signed()
    assert webhook.verify(key, headers=signed(), body=BODY, now_ms=TIME_S * 1000) == MESSAGE_ID


@pytest.mark.parametrize(
    ("headers", "body", "late_s", "refusal"),
    [
        (signed(), BODY, 300, None),
        (signed(), BODY, -300, None),
        (signed(), BODY, 300.001, WebhookRefusal.TIME_OUT_OF_TOLERANCE),
        (signed(), BODY, -300.001, WebhookRefusal.TIME_OUT_OF_TOLERANCE),
        (signed(), BODY + b" ", 0, WebhookRefusal.SIGNATURE_INVALID),
        (signed(**{"webhook-id": "other"}), BODY, 0, WebhookRefusal.SIGNATURE_INVALID),
        (signed(**{"webhook-timestamp": str(TIME_S + 1)}), BODY, 0, WebhookRefusal.SIGNATURE_INVALID),
        (signed(**{"webhook-signature": f"v1,AAAA {SIGNATURE}"}), BODY, 0, None),
        (signed(**{"webhook-signature": SIGNATURE.replace("v1,", "v2,")}), BODY, 0, WebhookRefusal.SIGNATURE_INVALID),
        (signed(**{"webhook-signature": SIGNATURE.replace("v1,", "")}), BODY, 0, WebhookRefusal.SIGNATURE_INVALID),
        (signed(**{"webhook-signature": "v1,"}), BODY, 0, WebhookRefusal.SIGNATURE_INVALID),
        (signed(**{"webhook-signature": "v1,ü"}), BODY, 0, WebhookRefusal.SIGNATURE_INVALID),
        (signed(**{"webhook-signature": "v1,AAAA " * 8 + SIGNATURE}), BODY, 0, WebhookRefusal.SIGNATURE_INVALID),
        (signed(**{"webhook-signature": ""}), BODY, 0, WebhookRefusal.HEADERS_MISSING),
        (signed(**{"webhook-id": ""}), BODY, 0, WebhookRefusal.HEADERS_MISSING),
        (signed(**{"webhook-id": "x" * 65}), BODY, 0, WebhookRefusal.HEADERS_MISSING),
        (signed(**{"webhook-id": f"{MESSAGE_ID} "}), BODY, 0, WebhookRefusal.HEADERS_MISSING),
        (signed(**{"webhook-timestamp": "-1"}), BODY, 0, WebhookRefusal.HEADERS_MISSING),
        (signed(**{"webhook-timestamp": "١٢"}), BODY, 0, WebhookRefusal.HEADERS_MISSING),
        (signed(**{"webhook-timestamp": "9" * 13}), BODY, 0, WebhookRefusal.HEADERS_MISSING),
        ({}, BODY, 0, WebhookRefusal.HEADERS_MISSING),
    ],
)
def test_a_message_is_authentic_whole_and_of_now(
    headers: dict[str, str], body: bytes, late_s: float, refusal: WebhookRefusal | None
) -> None:
    key = webhook.parse_secret(SECRET)
    assert key is not None
    answer = webhook.verify(key, headers=headers, body=body, now_ms=round((TIME_S + late_s) * 1000))
    assert answer == (refusal or MESSAGE_ID)


@pytest.mark.parametrize("text", ["", "whsec_", "whsec_AAAA", "whsec_ not base64 ", "ä" * 40, "A" * 31])
def test_a_secret_that_protects_nothing_is_none(text: str) -> None:
    assert webhook.parse_secret(text) is None


@pytest.mark.parametrize("text", [SECRET, f" {SECRET}\n", SECRET.removeprefix("whsec_")])
def test_a_secret_is_read_with_or_without_its_mark(text: str) -> None:
    assert len(webhook.parse_secret(text) or b"") == 24


@pytest.mark.parametrize("instrument", ["sandbox-approve", "sandbox-decline", "sandbox-delay", "tok_1"])
def test_the_sandbox_answers_the_same_charge_as_the_first_time(instrument: str) -> None:
    charge = Charge("T000000000001", TopUpMethod.CARD, instrument, EUR)
    assert Sandbox(bytes(32)).begin(charge) == Sandbox(bytes(32)).begin(charge)


def test_the_sandboxs_key_is_in_no_log() -> None:
    assert "webhook_key" not in repr(Sandbox(bytes(32)))


@pytest.mark.parametrize(("now_ms", "expected"), [(0, 0), (DAY_MS - 1, 0), (DAY_MS, DAY_MS), (DAY_MS + 1, DAY_MS)])
def test_a_day_is_utcs(now_ms: int, expected: int) -> None:
    assert day_start_ms(now_ms) == expected


@pytest.mark.parametrize(
    ("cause", "expected"), [("top_up:a:b", "a:b"), ("grant:00", "00"), ("plain", "plain"), ("x:", "x:")]
)
def test_a_reference_is_the_part_behind_the_kind(cause: str, expected: str) -> None:
    assert reference_of(cause) == expected


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_a_cell_that_begins_a_formula_is_text(text: str) -> None:
    assert safe_cell(text) == f"'{text}"


@pytest.mark.parametrize("text", ["", "1", "a=1", "café", " =1"])
def test_another_cell_stays_as_it_is(text: str) -> None:
    assert safe_cell(text) == text


def test_rows_are_written_as_rfc_4180_says() -> None:
    assert csv_rows([("a", 'b"c', "d,e"), (1, "=2", "")]) == 'a,"b""c","d,e"\r\n1,\'=2,\r\n'
