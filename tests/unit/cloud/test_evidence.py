"""Evidence packs: they prove themselves to a public COSE library, say nothing secret, and show every change."""

import hashlib
import io
import json
import random
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import cbor2
import pytest
from pycose.keys.cosekey import CoseKey
from pycose.messages.sign1message import Sign1Message

from cloud.db import run_read, run_transaction
from cloud.ingest.tables import RECORDS
from cloud.payments.claim_store import posted_counters
from cloud.reconciliation import evidence
from cloud.reconciliation.evidence import EvidenceError
from cloud.reconciliation.evidence_check import VerifiedPack, verify_pack
from cloud.reconciliation.evidence_claims import to_json
from cloud.reconciliation.evidence_facts import EvidenceRefusal, Flaw, ProofKind
from cloud.reconciliation.evidence_pack import Files, from_zip, to_zip
from cloud.wallets.release_service import ReserveRelease, return_grants
from cloud.wallets.reserve import ReturnStatement
from sync.envelope import SignedType
from sync.grant import GRANT
from sync.grant_return import GRANT_RETURN, GrantReturn
from sync.ids import PaymentId, Serial
from sync.keys import Ed25519SigningKey, PublicKey
from sync.payment_code import make_payment_code
from tests.counts import count
from tests.fakes.clone_world import SpentTwice, evidence_of, spend_twice
from tests.fakes.cloud_world import CloudWorld
from tests.vectors.parts import flip_last_bit


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudWorld]:
    made = CloudWorld(tmp_path_factory.mktemp("cloud"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def case(world: CloudWorld) -> SpentTwice:
    return spend_twice(world)


@pytest.fixture(scope="module")
def pack(world: CloudWorld, case: SpentTwice) -> bytes:
    return evidence_of(world, case.again)


@pytest.fixture(scope="module")
def root(world: CloudWorld) -> PublicKey:
    return world.cloud.keyring.root


def files_of(pack: bytes) -> Files:
    files = from_zip(pack)
    assert not isinstance(files, Flaw)
    return files


def with_manifest(files: Files) -> bytes:
    """Zip the files with a manifest that names them as they are, as a forger would."""
    manifest = json.loads(files["manifest.json"])
    manifest["files"] = {
        name: {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
        for name, content in files.items()
        if name != "manifest.json"
    }
    return to_zip(files | {"manifest.json": to_json(manifest)})


def verified(pack: bytes, root: PublicKey) -> VerifiedPack:
    found = verify_pack(pack, root)
    assert isinstance(found, VerifiedPack), found
    return found


def test_the_pack_of_a_double_spend_proves_it_by_signatures(case: SpentTwice, pack: bytes, root: PublicKey) -> None:
    facts = verified(pack, root).facts
    counter, total = facts.proofs
    assert (counter.kind, counter.counter, counter.serial) == (
        ProofKind.TWO_CONTENTS_ONE_COUNTER,
        7,
        case.phone.serial,
    )
    assert [facts.sales[place - 1].record.hash for place in counter.records] == [case.first.hash, case.again.hash]
    assert total.kind is ProofKind.MORE_THAN_THE_GRANT
    assert (total.allowed_minor, total.sum_minor, len(total.records)) == (60_00, 100_00, 3)


def test_a_public_cose_library_finds_both_signatures_good_and_in_conflict(pack: bytes) -> None:
    files = files_of(pack)
    signed: list[list[Any]] = []
    for entry in json.loads(files["cose/index.json"]):
        assert cbor2.loads(files[entry["file"]]).tag == Sign1Message.cbor_tag
        message = Sign1Message.from_cose_obj(cbor2.loads(files[entry["file"]][1:]), allow_unknown_attributes=False)
        message.key = CoseKey.decode(files[entry["key"]])
        message.external_aad = entry["external_aad"].encode()  # type: ignore[misc]
        assert message.verify_signature(), entry
        message.external_aad = b"tillbox/1/another"  # type: ignore[misc]
        assert not message.verify_signature(), entry
        if entry["external_aad"] == SignedType.PAYMENT_CODE.value.decode():
            signed.append([entry["key"], *cbor2.loads(message.payload or b"")])
    first, again = [each for each in signed if each[5] == 7]
    # Key, format, mode and grant are one; the counter is one; the challenge is not.
    assert first[:4] == again[:4]
    assert (first[6], again[6]) == (b"original", b"the copy")


def test_the_lines_in_the_readme_verify_the_pack_without_our_code(pack: bytes, tmp_path: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(pack)) as archive:
        archive.extractall(tmp_path)
    page = (tmp_path / "README.txt").read_text()
    lines = page.partition("---8<---\n")[2].partition("--->8---")[0]
    code = f"{lines}\nimport sys\nassert not [m for m in sys.modules if m.split('.')[0] in ('sync', 'cloud')]\n"
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60
    )
    said = done.stdout.splitlines()
    assert len(said) == len(json.loads((tmp_path / "cose" / "index.json").read_text()))
    assert all(line.startswith("holds cose/") for line in said)
    (tmp_path / "cose" / "code-001.cbor").write_bytes(flip_last_bit((tmp_path / "cose" / "code-001.cbor").read_bytes()))
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60
    )
    (line,) = (line for line in done.stdout.splitlines() if not line.startswith("holds "))
    assert line.startswith("DOES NOT HOLD cose/code-001.cbor signed by phone ")


def test_nothing_secret_and_no_name_of_the_payer_is_in_it(world: CloudWorld, case: SpentTwice, pack: bytes) -> None:
    phone = case.phone
    everything = b"\n".join(files_of(pack).values())
    private = [key.private_bytes() for key in (phone.key, phone.binding_key) if isinstance(key, Ed25519SigningKey)]
    assert len(private) == 2
    secrets = [phone.wallet_id.encode(), phone.device_id.encode(), phone.binding_key.public_key.raw, *private]
    secrets += [b"Customer ", b"@example.org", b"+4915100"]
    for secret in secrets:
        assert secret not in everything
        assert secret.hex().encode() not in everything
    assert bytes(phone.serial) in everything


def test_the_clouds_word_stands_beside_what_is_signed(pack: bytes, root: PublicKey, case: SpentTwice) -> None:
    claims = verified(pack, root).claims
    split = {
        each.record_hash: (each.outcome, each.from_reserve_minor, each.uncovered_minor) for each in claims.payments
    }
    assert split == {
        case.first.hash.hex(): ("settled_from_reserve", 50_00, 0),
        case.again.hash.hex(): ("double_spend", 10_00, 20_00),
        case.beyond.hash.hex(): ("over_grant", 0, 20_00),
    }
    assert [(each.serial, each.reason) for each in claims.denials] == [(case.phone.serial.hex(), "double_spend")]
    assert [case.kind for case in claims.cases] == ["other_content_same_counter"]
    (exposure,) = claims.exposures
    assert (exposure.bound_minor, exposure.loss_minor) == (140_00, 40_00)


def test_it_does_not_verify_under_another_root(pack: bytes) -> None:
    stranger = Ed25519SigningKey.generate().public_key
    flaw = verify_pack(pack, stranger)
    assert isinstance(flaw, Flaw)
    assert flaw.refusal is EvidenceRefusal.ROLE_REFUSED


def claims_with(files: Files, change: Callable[[dict[str, Any]], None]) -> Files:
    content = json.loads(files["claims.json"])
    change(content)
    return files | {"claims.json": to_json(content)}


def without(files: Files, prefix: str) -> Files:
    return {name: content for name, content in files.items() if not name.startswith(prefix)}


def other_amount(files: Files) -> Files:
    def change(content: dict[str, Any]) -> None:
        content["payments"][0]["amount_minor"] += 1

    return claims_with(files, change)


def other_split(files: Files) -> Files:
    """Shift the loss to the payer, with postings that still add up among themselves."""

    def change(content: dict[str, Any]) -> None:
        for payment in content["payments"]:
            if payment["outcome"] == "double_spend":
                payment["uncovered_minor"] -= 5_00
                payment["from_reserve_minor"] += 5_00

    return claims_with(files, change)


def unbalanced(files: Files) -> Files:
    def change(content: dict[str, Any]) -> None:
        content["entries"][0]["postings"][0]["amount_minor"] += 1

    return claims_with(files, change)


def other_bound(files: Files) -> Files:
    def change(content: dict[str, Any]) -> None:
        content["exposures"][0]["bound_minor"] = 1

    return claims_with(files, change)


def foreign_field(files: Files) -> Files:
    def change(content: dict[str, Any]) -> None:
        content["name"] = "somebody"

    return claims_with(files, change)


def replaced(files: Files, name: str, content: bytes) -> Files:
    assert name in files
    return files | {name: content}


def spoiled(files: Files, folder: str) -> Files:
    name = next(each for each in sorted(files) if each.startswith(folder))
    return replaced(files, name, flip_last_bit(files[name]))


FORGERIES: dict[str, tuple[Callable[[Files], Files], EvidenceRefusal]] = {
    "a record's signature": (lambda f: spoiled(f, "records/"), EvidenceRefusal.RECORD_REFUSED),
    "a certificate's signature": (lambda f: spoiled(f, "certificates/"), EvidenceRefusal.CERTIFICATE_REFUSED),
    "a role key's signature": (lambda f: spoiled(f, "roles/"), EvidenceRefusal.ROLE_REFUSED),
    "a grant's signature": (lambda f: spoiled(f, "grants/"), EvidenceRefusal.GRANT_REFUSED),
    "no certificates": (lambda f: without(f, "certificates/"), EvidenceRefusal.RECORD_REFUSED),
    "no record of the first spend": (lambda f: without(f, "records/001"), EvidenceRefusal.CLAIMS_CONTRADICT),
    "a record twice": (lambda f: f | {"records/004.cbor": f["records/003.cbor"]}, EvidenceRefusal.SAYS_OTHERWISE),
    "another page": (lambda f: replaced(f, "README.txt", b"nothing happened"), EvidenceRefusal.SAYS_OTHERWISE),
    "another code beside the record": (lambda f: spoiled(f, "codes/"), EvidenceRefusal.SAYS_OTHERWISE),
    "another COSE message": (lambda f: spoiled(f, "cose/code-"), EvidenceRefusal.SAYS_OTHERWISE),
    "another key to verify by": (lambda f: spoiled(f, "cose/keys/"), EvidenceRefusal.SAYS_OTHERWISE),
    "a file more": (lambda f: f | {"notes.txt": b"ours"}, EvidenceRefusal.SAYS_OTHERWISE),
    "a file less": (lambda f: without(f, "cose/record-002"), EvidenceRefusal.SAYS_OTHERWISE),
    "another amount": (other_amount, EvidenceRefusal.CLAIMS_CONTRADICT),
    "another split": (other_split, EvidenceRefusal.CLAIMS_CONTRADICT),
    "an entry that does not balance": (unbalanced, EvidenceRefusal.CLAIMS_CONTRADICT),
    "another bound": (other_bound, EvidenceRefusal.CLAIMS_CONTRADICT),
    "a field nobody knows": (foreign_field, EvidenceRefusal.CLAIMS_MALFORMED),
    "claims in another spelling": (
        lambda f: replaced(f, "claims.json", f["claims.json"] + b" "),
        EvidenceRefusal.CLAIMS_MALFORMED,
    ),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_forged_pack_whose_manifest_was_forged_too_is_refused_by_name(
    pack: bytes, root: PublicKey, forgery: str
) -> None:
    change, refusal = FORGERIES[forgery]
    flaw = verify_pack(with_manifest(change(files_of(pack))), root)
    assert isinstance(flaw, Flaw)
    assert flaw.refusal is refusal, flaw


def test_a_manifest_that_claims_another_proof_is_refused(pack: bytes, root: PublicKey) -> None:
    files = files_of(pack)
    manifest = json.loads(files["manifest.json"])
    manifest["proofs"][0]["serial"] = "00" * 8
    flaw = verify_pack(to_zip(files | {"manifest.json": to_json(manifest)}), root)
    assert flaw == Flaw(EvidenceRefusal.SAYS_OTHERWISE, "manifest.json")


DAMAGES: dict[str, tuple[Callable[[Files], Files], EvidenceRefusal]] = {
    "no manifest": (lambda f: without(f, "manifest"), EvidenceRefusal.FILE_MISSING),
    "no claims": (lambda f: without(f, "claims"), EvidenceRefusal.FILE_MISSING),
    "a file lost": (lambda f: without(f, "codes/002"), EvidenceRefusal.FILE_MISSING),
    "a file put in": (lambda f: f | {"more": b""}, EvidenceRefusal.FILE_UNKNOWN),
    "a file damaged": (lambda f: spoiled(f, "records/"), EvidenceRefusal.FILE_CHANGED),
    "a manifest of another format": (
        lambda f: replaced(f, "manifest.json", b'{"format": "x"}'),
        EvidenceRefusal.NOT_A_PACK,
    ),
    "a manifest that is no JSON": (lambda f: replaced(f, "manifest.json", b"{"), EvidenceRefusal.NOT_A_PACK),
    "a manifest that is a list": (lambda f: replaced(f, "manifest.json", b"[1]"), EvidenceRefusal.NOT_A_PACK),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_pack_is_refused_by_name(pack: bytes, root: PublicKey, damage: str) -> None:
    change, refusal = DAMAGES[damage]
    flaw = verify_pack(to_zip(change(files_of(pack))), root)
    assert isinstance(flaw, Flaw)
    assert flaw.refusal is refusal, flaw


def compressed(pack: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files_of(pack).items():
            archive.writestr(name, content)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("spoil", "refusal"),
    [
        (lambda _: b"", EvidenceRefusal.NOT_A_PACK),
        (lambda _: b"PK\x03\x04 and no more", EvidenceRefusal.NOT_A_PACK),
        (lambda pack: pack[:-1], EvidenceRefusal.NOT_A_PACK),
        (lambda pack: pack + b"\n", EvidenceRefusal.NOT_A_PACK),
        (compressed, EvidenceRefusal.NOT_A_PACK),
        (lambda _: bytes(16 * 1024 * 1024 + 1), EvidenceRefusal.TOO_LARGE),
    ],
)
def test_what_is_no_pack_is_refused(
    pack: bytes, root: PublicKey, spoil: Callable[[bytes], bytes], refusal: EvidenceRefusal
) -> None:
    flaw = verify_pack(spoil(pack), root)
    assert isinstance(flaw, Flaw)
    assert flaw.refusal is refusal


def test_no_changed_byte_passes_and_none_raises(pack: bytes, root: PublicKey) -> None:
    seed = 5
    chance = random.Random(seed)
    for turn in range(count(reduced=300, full=20_000)):
        at, bit = chance.randrange(len(pack)), 1 << chance.randrange(8)
        changed = pack[:at] + bytes([pack[at] ^ bit]) + pack[at + 1 :]
        assert isinstance(verify_pack(changed, root), Flaw), f"seed {seed}, turn {turn}: bit {bit} of byte {at}"


def test_a_replayed_code_is_shown_and_convicts_no_phone(world: CloudWorld, root: PublicKey) -> None:
    boxes, code = [world.box(), world.box()], world.phone().code()
    sales = [box.sale(code, 10_00) for box in boxes]
    for box, sale in zip(boxes, sales, strict=True):
        world.send(box, sale)
    proven = verified(evidence_of(world, sales[1]), root)
    assert [proof.kind for proof in proven.facts.proofs] == [ProofKind.ONE_CODE_TWICE]
    assert proven.claims.denials == ()


def test_a_code_that_is_not_genuine_is_evidence_against_the_box_that_signed_it(
    world: CloudWorld, root: PublicKey
) -> None:
    box, phone = world.box(), world.phone()
    now_s = world.clock.now_ms() // 1000
    invented = make_payment_code(phone.grant, box.key, time_s=now_s, counter=5, challenge=bytes(8))
    forger = Ed25519SigningKey.generate()
    grant = GRANT.sign(forger, replace(phone.grant.content, key_id=forger.public_key.key_id))
    granted = make_payment_code(grant, phone.key, time_s=now_s, counter=6, challenge=bytes(8))
    unreadable = box.append(payment_id=PaymentId(b"unreadable 16 by"), amount_minor=1_00, code=b"\x80")
    sales = [box.sale(invented, 10_00), box.sale(granted, 10_00), unreadable]
    world.send(box, unreadable, *sales[:2])
    verdicts = [
        [fact.verdict for fact in verified(evidence_of(world, sale), root).facts.sales if fact.record.hash == sale.hash]
        for sale in sales
    ]
    assert verdicts == [["device_signature_invalid"], ["unknown_issuer"], ["wrong_shape"]]


def test_a_counter_beyond_the_last_one_the_phone_signed_convicts_it(world: CloudWorld, root: PublicKey) -> None:
    box, phone = world.box(), world.phone()
    content = GrantReturn(phone.key.public_key.key_id, phone.serial, 3, (), world.clock.now_ms() // 1000)
    statement = GRANT_RETURN.sign(phone.key, content).encode()
    run_return(world, phone.device_id, phone.serial, statement)
    sale = box.sale(phone.code(counter=9), 10_00)
    world.send(box, sale)
    proven = verified(evidence_of(world, sale), root)
    assert [(proof.kind, proof.counter) for proof in proven.facts.proofs] == [(ProofKind.COUNTER_AFTER_RETURN, 9)]
    files = files_of(evidence_of(world, sale))
    spoilt = verify_pack(with_manifest(spoiled(files, "returns/")), root)
    assert isinstance(spoilt, Flaw)
    assert spoilt.refusal is EvidenceRefusal.RETURN_REFUSED


def run_return(world: CloudWorld, device_id: str, serial: bytes, statement: bytes) -> None:
    said = ReturnStatement(Serial(serial), 3, (), statement)
    now_ms = world.clock.now_ms()
    released = run_transaction(
        world.engine,
        lambda session: return_grants(session, device_id, [said], posted=posted_counters, now_ms=now_ms),
    )
    assert isinstance(released, ReserveRelease)


def test_two_records_under_one_payment_id_stand_side_by_side(world: CloudWorld, root: PublicKey) -> None:
    box = world.box()
    first = box.sale(world.phone().code(), 10_00)
    second = box.sale(world.phone().code(), 20_00, payment_id=first.content.payment_id)
    world.send(box, first, second)
    proven = verified(evidence_of(world, second), root)
    assert {each.outcome for each in proven.claims.payments} == {"settled_from_reserve", "conflict"}
    assert len(proven.claims.entries) == 1


def test_rows_that_were_changed_give_no_evidence_but_an_error(tmp_path: Path) -> None:
    world = CloudWorld(tmp_path)
    case = spend_twice(world)
    spoilt = flip_last_bit(case.first.encode())
    with world.engine.begin() as connection:
        connection.execute(RECORDS.update().where(RECORDS.c.record_hash == case.first.hash).values(encoded=spoilt))
    with pytest.raises(EvidenceError) as raised:
        evidence_of(world, case.again)
    assert raised.value.code == "evidence_broken"
    world.close()


@pytest.mark.parametrize(
    ("name", "code"),
    [("00" * 16, "payment_unknown"), ("not hex", "payment_malformed"), (f"{'00' * 8}:{'00' * 16}", "payment_unknown")],
)
def test_a_payment_nobody_knows_has_no_evidence(world: CloudWorld, case: SpentTwice, name: str, code: str) -> None:
    def work(session: Any) -> bytes:
        subject = evidence.named_subject(session, name)
        return evidence.make_pack(session, subject, issued=evidence.Issued(world.cloud.keyring.root, ()))

    with pytest.raises(EvidenceError) as raised:
        run_read(world.engine, work)
    assert raised.value.code == code


@pytest.mark.parametrize("names", [EvidenceRefusal, ProofKind])
def test_every_refusal_and_every_proof_has_its_words(names: type[StrEnum]) -> None:
    page = (Path(__file__).parents[3] / "docs" / "evidence.md").read_text()
    rows = [line.split("|") for line in page.splitlines() if line.startswith("| `")]
    words = {cells[1].strip().strip("`"): cells[2].strip() for cells in rows}
    assert [name.value for name in names if not words.get(name.value)] == []
