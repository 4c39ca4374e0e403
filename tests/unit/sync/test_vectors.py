"""The golden vectors: our reader judges each as it must, and each refusal of the language has a known-bad case."""

from collections.abc import Iterator
from typing import Any

import pytest

from sync import cbor
from sync.approval import APPROVAL, check_approval, read_approval
from sync.batch import Batch, decode_batch
from sync.device_request import DeviceRequest, verify_device_request
from sync.envelope import SignedType, sig_structure
from sync.ids import KeyId
from sync.keys import PublicKey, parse_public_key
from sync.message import Message
from sync.payment_code import check_request, check_times, read_payment_code, verify_signatures
from sync.payment_request import read_payment_request, verify_payment_request
from sync.policy import open_policy
from sync.qr_text import QrPrefix, from_text
from sync.receipt import RECEIPT, read_receipt
from sync.record import RECORD
from sync.refusals import Refusal
from sync.roles import FindKey, Issuer, Issuers, RoleKey, RoleUse
from sync.trust_snapshot import HeldTrust, open_delta, open_snapshot
from tests.fakes.signed_examples import ALL_KINDS
from tests.vectors import FOLDER, load
from tests.vectors.make import FILES, render
from tests.vectors.parts import as_json, code_content, content_json

Case = dict[str, Any]

GIVEN_BY_THE_BOX = {Refusal.WRONG_TERMINAL, Refusal.UNKNOWN_NONCE}
"""Given where a genuine message meets one box: whose it is, and whether the box asked."""
GIVEN_BY_THE_DECISION = set(list(Refusal)[list(Refusal).index(Refusal.AMOUNT_INVALID) :])
"""The box's rules about a sale; ``docs/decision.md`` has them."""
GIVEN_BY_THE_LANGUAGE = set(Refusal) - GIVEN_BY_THE_BOX - GIVEN_BY_THE_DECISION
"""Given by parsing and verifying alone: each has a known-bad vector."""


def cases(name: str, key: str = "cases") -> list[Any]:
    return [pytest.param(each, id=each["name"]) for each in load(name)[key]]


def expected(case: Case) -> Refusal | None:
    return None if case["refusal"] is None else Refusal(case["refusal"])


def hexed(case: Case, key: str) -> bytes:
    return bytes.fromhex(case[key])


def loaded(raw: str) -> PublicKey:
    key = parse_public_key(bytes.fromhex(raw))
    assert isinstance(key, PublicKey)
    return key


def issuers_of(keys: list[dict[str, Any]]) -> Issuers:
    def issuer(key: dict[str, Any]) -> Issuer:
        public_key = loaded(key["public_key"])
        assert public_key.key_id.hex() == key["key_id"]
        use = RoleUse[key["use"].upper()]
        ends = key["not_before_ms"], key["not_after_ms"]
        return Issuer(RoleKey(KeyId(bytes(4)), use, key["version"], public_key.raw, *ends), public_key)

    return Issuers(tuple(issuer(key) for key in keys))


def finder(keys: list[dict[str, Any]], use: RoleUse) -> FindKey:
    issuers = issuers_of(keys)
    return lambda key_id, at_ms: issuers.find(use, key_id, at_ms=at_ms)


@pytest.mark.parametrize("name", FILES)
def test_the_vectors_are_made_again_byte_for_byte(name: str) -> None:
    written = (FOLDER / f"{name}.json").read_text(encoding="utf-8")
    assert written == render(name), "write them with `python -m tests.vectors --write`; old cases stay as they are"


def test_no_vector_file_is_left_over() -> None:
    assert {path.stem for path in FOLDER.glob("*.json")} == set(FILES)


def every_case() -> Iterator[Case]:
    for name in FILES:
        for value in load(name).values():
            if isinstance(value, list):
                yield from (each for each in value if isinstance(each, dict) and "refusal" in each)


def test_each_refusal_of_the_language_has_a_known_bad_vector_and_no_other_refusal_has_one() -> None:
    shown = {Refusal(case["refusal"]) for case in every_case() if case["refusal"] is not None}
    assert shown == GIVEN_BY_THE_LANGUAGE


def test_each_refusal_a_payment_code_can_meet_has_a_vector_of_a_payment_code() -> None:
    elsewhere = {
        Refusal.SIGNATURE_INVALID,
        Refusal.REQUEST_EXPIRED,
        Refusal.OLDER_THAN_HELD,
        Refusal.DELTA_BASE_MISMATCH,
        Refusal.SNAPSHOT_EXPIRED,
        Refusal.POLICY_EXPIRED,
        Refusal.CERTIFICATE_NOT_VALID,
        Refusal.MESSAGE_EXPIRED,
    }
    shown = {expected(case) for case in load("payment_code")["cases"]}
    assert shown - {None} == GIVEN_BY_THE_LANGUAGE - elsewhere


def test_names_of_cases_are_unique_in_their_file() -> None:
    for name in FILES:
        for value in load(name).values():
            if isinstance(value, list):
                names = [each["name"] for each in value if isinstance(each, dict) and "name" in each]
                assert len(names) == len(set(names)), name


CODES = load("payment_code")
FIND_GRANT_ISSUER = finder(CODES["grant_keys"], RoleUse.GRANT)


@pytest.mark.parametrize("case", cases("payment_code"))
def test_payment_code(case: Case) -> None:
    code = read_payment_code(case["text"])
    if isinstance(code, Refusal):
        assert code is expected(case)
        return
    request_hash = None if case["request_hash"] is None else bytes.fromhex(case["request_hash"])
    refusal = (
        verify_signatures(code, FIND_GRANT_ISSUER)
        or check_times(code, now_s=case["now_s"], age_s_max=CODES["age_s_max"], ahead_s_max=CODES["ahead_s_max"])
        or check_request(code, request_hash=request_hash)
    )
    assert refusal is expected(case)
    if refusal is None:
        assert code.encode().hex() == case["raw"]
        assert as_json(code_content(code)) == case["content"]
        assert len(code.encode()) <= 240


@pytest.mark.parametrize("case", cases("shown_payment_request"))
def test_payment_request(case: Case) -> None:
    shown = read_payment_request(case["text"])
    if isinstance(shown, Refusal):
        assert shown is expected(case)
        return
    find_fleet_ca = finder(load("shown_payment_request")["fleet_ca_keys"], RoleUse.FLEET_CA)
    refusal = verify_payment_request(shown, now_s=case["now_s"], find_fleet_ca=find_fleet_ca)
    assert refusal is expected(case)
    if refusal is None:
        assert shown.short_hash.hex() == case["short_hash"]
        assert content_json(shown.request.content) == case["request"]
        assert content_json(shown.certificate.content) == case["certificate"]


@pytest.mark.parametrize("case", cases("carried_approval"))
def test_approval(case: Case) -> None:
    approval = read_approval(case["text"])
    if isinstance(approval, Refusal):
        assert approval is expected(case)
        return
    refusal = APPROVAL.verify(approval, loaded(load("carried_approval")["approval_key"])) or check_approval(
        approval.content,
        request_hash=hexed(case, "request_hash"),
        amount_minor=case["amount_minor"],
        now_s=case["now_s"],
    )
    assert refusal is expected(case)


@pytest.mark.parametrize("case", cases("shown_receipt"))
def test_receipt(case: Case) -> None:
    receipt = read_receipt(case["text"])
    if isinstance(receipt, Refusal):
        assert receipt is expected(case)
        return
    refusal = RECEIPT.verify(receipt, loaded(case["terminal_key"]))
    assert refusal is expected(case)
    if refusal is None:
        assert content_json(receipt.content) == case["content"]


@pytest.mark.parametrize(
    "signed_type, case",
    [
        pytest.param(kind, case, id=f"{kind.name.lower()}-{case['name']}")
        for kind in ALL_KINDS
        for case in load(f"message_{kind.name.lower()}")["cases"]
    ],
)
def test_message(signed_type: SignedType, case: Case) -> None:
    key = loaded(case["public_key"])
    opened = ALL_KINDS[signed_type].open(hexed(case, "encoded"), lambda _: key)
    if isinstance(opened, Refusal):
        assert opened is expected(case)
        return
    assert expected(case) is None
    assert opened.hash.hex() == case["hash"]
    assert content_json(opened.content) == case["content"]


@pytest.mark.parametrize("case", cases("held_snapshot"))
def test_snapshot(case: Case) -> None:
    root = loaded(load("held_snapshot")["root"])
    held = open_snapshot(hexed(case, "encoded"), root, held_version=case["held_version"], now_ms=case["now_ms"])
    if isinstance(held, Refusal):
        assert held is expected(case)
        return
    assert expected(case) is None
    if "denied" in case:
        assert sorted(serial.hex() for serial in held.denied) == sorted(case["denied"])
        for key in case["issuers"]:
            found = held.issuers.find(RoleUse[key["use"].upper()], KeyId(hexed(key, "key_id")), at_ms=case["now_ms"])
            assert found == loaded(key["public_key"])


@pytest.mark.parametrize("case", cases("held_delta"))
def test_delta(case: Case) -> None:
    vectors = load("held_delta")
    held = open_snapshot(bytes.fromhex(vectors["held"]), loaded(vectors["root"]), held_version=0, now_ms=0)
    assert isinstance(held, HeldTrust)
    newer = open_delta(hexed(case, "encoded"), held, now_ms=case["now_ms"])
    if isinstance(newer, Refusal):
        assert newer is expected(case)
        return
    assert expected(case) is None
    assert newer.version == case["version"]
    assert sorted(serial.hex() for serial in newer.denied) == case["denied"]


@pytest.mark.parametrize("case", cases("held_policy"))
def test_policy(case: Case) -> None:
    policy = open_policy(
        hexed(case, "encoded"),
        issuers_of(load("held_policy")["issuers"]),
        held_version=case["held_version"],
        now_ms=case["now_ms"],
    )
    assert (policy if isinstance(policy, Refusal) else None) is expected(case)


def test_record_chain() -> None:
    vectors = load("record_chain")
    key = loaded(vectors["terminal_key"])
    previous_hash = bytes(32)
    for each in vectors["records"]:
        record = RECORD.open(hexed(each, "encoded"), lambda _: key)
        assert isinstance(record, Message)
        assert record.content.previous_hash == previous_hash == hexed(each, "previous_hash")
        assert (record.content.epoch, record.content.number) == (each["epoch"], each["number"])
        assert record.content.kind.name.lower() == each["kind"]
        previous_hash = record.hash
        assert previous_hash.hex() == each["hash"]


@pytest.mark.parametrize("case", cases("cbor"))
def test_cbor(case: Case) -> None:
    value = cbor.decode(hexed(case, "encoded"))
    if isinstance(value, Refusal):
        assert value is expected(case)
        return
    assert expected(case) is None
    assert value == untagged(case["value"])
    assert cbor.encode(value).hex() == case["encoded"]


def untagged(value: Any) -> cbor.Value:
    match value:
        case str():
            return int(value)
        case {"bytes": str(text)}:
            return bytes.fromhex(text)
        case _:
            return tuple(untagged(element) for element in value)


@pytest.mark.parametrize("case", cases("text"))
def test_text(case: Case) -> None:
    raw = from_text(QrPrefix.PAYMENT_CODE, case["text"])
    assert (raw if isinstance(raw, Refusal) else None) is expected(case)
    if isinstance(raw, bytes):
        assert raw.hex() == case["raw"]


@pytest.mark.parametrize("case", cases("keys", "public_keys"))
def test_public_key(case: Case) -> None:
    key = parse_public_key(hexed(case, "public_key"))
    assert (key if isinstance(key, Refusal) else None) is expected(case)
    if isinstance(key, PublicKey):
        assert key.key_id.hex() == case["key_id"]


@pytest.mark.parametrize("case", cases("keys", "signatures"))
def test_signature(case: Case) -> None:
    key = loaded(case["public_key"])
    assert key.verify(hexed(case, "signature"), hexed(case, "message")) is expected(case)


def test_sig_structures() -> None:
    vectors = load("sig_structure")
    for case in vectors["cases"]:
        signed_type = SignedType(case["signed_type"].encode())
        made = sig_structure(signed_type, bytes.fromhex(vectors["payload"]), cose_algorithm=case["algorithm"])
        assert made.hex() == case["sig_structure"]


@pytest.mark.parametrize("case", cases("batch"))
def test_batch(case: Case) -> None:
    batch = decode_batch(hexed(case, "encoded"))
    assert (batch if isinstance(batch, Refusal) else None) is expected(case)
    if isinstance(batch, Batch):
        assert batch.nonce.hex() == case["nonce"]
        assert [record.hex() for record in batch.records] == case["records"]


@pytest.mark.parametrize("case", cases("device_request"))
def test_device_request(case: Case) -> None:
    key = loaded(load("device_request")["binding_key"])
    request = DeviceRequest(case["method"], case["path"], case["sent_at_ms"], hexed(case, "body"))
    refusal = verify_device_request(key, request, signature=hexed(case, "signature"), now_ms=case["now_ms"])
    assert refusal is expected(case)
