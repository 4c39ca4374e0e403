"""The file of an evidence pack: a zip whose every byte follows from what it proves. Pure.

The same case gives the same file, whoever makes it and whenever: entries in order of their names, stored and not
compressed, dated 1980, JSON in one spelling. So the verifier builds the pack again from the signed bytes in it and
compares: whatever was added, left out or reworded shows.
"""

import hashlib
import io
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cloud.reconciliation.evidence_claims import FORMAT, Claims, to_json
from cloud.reconciliation.evidence_cose import cose_key, cose_sign1
from cloud.reconciliation.evidence_facts import (
    EvidenceRefusal,
    Facts,
    Flaw,
    Proof,
    SaleFact,
    SignedParts,
    code_part,
    content_hash,
)
from cloud.reconciliation.evidence_readme import readme
from sync.certificate import TerminalCertificate
from sync.envelope import Signed, SignedType, decode_signed
from sync.ids import KeyId
from sync.keys import PublicKey, key_id_of, parse_public_key
from sync.payment_code import CodeMode
from sync.refusals import Refusal
from sync.roles import RoleUse

PACK_SIZE_MAX = 16 * 1024 * 1024
FILES_MAX = 8_000
CLAIMS_NAME = "claims.json"
MANIFEST_NAME = "manifest.json"
README_NAME = "README.txt"
INDEX_NAME = "cose/index.json"
_FIRST_DATE = (1980, 1, 1, 0, 0, 0)
_UNIX = 3
_READABLE = 0o100644 << 16

Files = dict[str, bytes]


@dataclass(frozen=True, slots=True)
class _Expanded:
    """A signed message with the key it is verified by."""

    name: str
    signed_type: SignedType
    signed: Signed
    key: PublicKey
    signed_by: str


def build_files(parts: SignedParts, facts: Facts, claims: Claims) -> Files:
    """Return every file of the pack by name; ``facts`` are those of ``parts``."""
    files: Files = {CLAIMS_NAME: claims.encode(), README_NAME: readme(facts)}
    for place, record in enumerate(parts.records, start=1):
        files[f"records/{place:03}.cbor"] = record
        files[f"codes/{place:03}.cbor"] = facts.sales[place - 1].record.content.code
    for certificate in facts.certificates:
        files[f"certificates/{_certificate_stem(certificate.content)}.cbor"] = certificate.encode()
    for encoded, issuer in facts.roles:
        files[f"roles/{issuer.role.use.name.lower()}-{issuer.role.version}.cbor"] = encoded
    for grant in facts.grants:
        files[f"grants/{grant.content.serial.hex()}.cbor"] = grant.encode()
    for returned in facts.returns:
        files[f"returns/{returned.content.serial.hex()}.cbor"] = returned.encode()
    files |= _cose_files(facts)
    files[MANIFEST_NAME] = to_json(_manifest(files, facts, claims))
    return files


def to_zip(files: Mapping[str, bytes]) -> bytes:
    """Return the one zip file of these files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, _FIRST_DATE)
            entry.create_system, entry.external_attr = _UNIX, _READABLE
            archive.writestr(entry, files[name])
    return buffer.getvalue()


def from_zip(data: bytes) -> Files | Flaw:
    """Read a zip within bounds; a file that is not exactly what ``to_zip`` makes of its content is refused."""
    if len(data) > PACK_SIZE_MAX:
        return Flaw(EvidenceRefusal.TOO_LARGE, f"over {PACK_SIZE_MAX} bytes")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            if len(entries) > FILES_MAX or sum(entry.file_size for entry in entries) > PACK_SIZE_MAX:
                return Flaw(EvidenceRefusal.TOO_LARGE, "more than a pack holds")
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
                return Flaw(EvidenceRefusal.NOT_A_PACK, "a pack compresses nothing")
            files = {entry.filename: archive.read(entry) for entry in entries}
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError, OSError) as error:
        return Flaw(EvidenceRefusal.NOT_A_PACK, str(error) or type(error).__name__)
    if to_zip(files) != data:
        return Flaw(EvidenceRefusal.NOT_A_PACK, "the zip is not in the one form of evidence packs")
    return files


def parts_of(files: Mapping[str, bytes]) -> SignedParts:
    """Return what is signed in a pack, by folder and name."""

    def folder(name: str) -> tuple[bytes, ...]:
        return tuple(files[each] for each in sorted(files) if each.startswith(f"{name}/"))

    return SignedParts(folder("records"), folder("certificates"), folder("roles"), folder("grants"), folder("returns"))


def _manifest(files: Mapping[str, bytes], facts: Facts, claims: Claims) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "subject": {"terminal_id": claims.terminal_id, "payment_id": claims.payment_id},
        "root": facts.root.raw.hex(),
        "proofs": [_proof(proof) for proof in facts.proofs],
        "sales": [_sale(place, sale) for place, sale in enumerate(facts.sales, start=1)],
        "files": {
            name: {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
            for name, content in files.items()
        },
    }


def _proof(proof: Proof) -> dict[str, Any]:
    figures = {"counter": proof.counter, "allowed_minor": proof.allowed_minor, "sum_minor": proof.sum_minor}
    return {"kind": proof.kind.value, "serial": proof.serial.hex(), "records": list(proof.records)} | {
        name: value for name, value in figures.items() if value is not None
    }


def _sale(place: int, sale: SaleFact) -> dict[str, Any]:
    record, box, code = sale.record.content, sale.certificate.content, sale.code
    shown: dict[str, Any] = {"verdict": sale.verdict}
    if code is not None:
        shown |= {
            "serial": code.serial.hex(),
            "mode": code.mode.name.lower(),
            "time_s": code.time_s,
            "counter": code.counter,
            "challenge": code.challenge.hex(),
            "content_sha256": content_hash(code).hex(),
            "grant_limit_minor": code.grant.limit_minor,
            "grant_total_minor": code.grant.total_minor,
        }
    return {
        "place": place,
        "record_hash": sale.record.hash.hex(),
        "terminal_id": record.terminal_id.hex(),
        "merchant_id": box.merchant_id.hex(),
        "site_id": box.site_id.hex(),
        "shop": box.name,
        "epoch": record.epoch,
        "number": record.number,
        "payment_id": record.payment_id.hex(),
        "amount_minor": record.amount_minor,
        "currency": record.currency,
        "authorised_at_ms": record.authorised_at_ms,
        "snapshot_version": record.snapshot_version,
        "policy_version": record.policy_version,
        "code": shown,
    }


def _cose_files(facts: Facts) -> Files:
    files: Files = {}
    index: list[dict[str, str]] = []
    for each in sorted(_expanded(facts), key=lambda one: one.name):
        name, key_name = f"cose/{each.name}.cbor", f"cose/keys/{each.key.raw.hex()}.cbor"
        files[name] = cose_sign1(each.signed, each.key)
        files[key_name] = cose_key(each.key)
        aad = each.signed_type.value.decode("ascii")
        index.append({"file": name, "key": key_name, "external_aad": aad, "signed_by": each.signed_by})
    files[INDEX_NAME] = to_json(index)
    return files


def _expanded(facts: Facts) -> Iterable[_Expanded]:
    for encoded, issuer in facts.roles:
        signed = decode_signed(encoded, size_max=len(encoded))
        if not isinstance(signed, Refusal):
            stem = f"role-{issuer.role.use.name.lower()}-{issuer.role.version}"
            yield _Expanded(stem, SignedType.ROLE_KEY, signed, facts.root, "the root")
    for certificate in facts.certificates:
        stem = f"certificate-{_certificate_stem(certificate.content)}"
        key = _issuer_key(facts, RoleUse.FLEET_CA, certificate.content.key_id)
        yield _Expanded(stem, SignedType.TERMINAL_CERTIFICATE, certificate.signed, key, "the fleet CA")
    for grant in facts.grants:
        key = _issuer_key(facts, RoleUse.GRANT, grant.content.key_id)
        yield _Expanded(f"grant-{grant.content.serial.hex()}", SignedType.GRANT, grant.signed, key, "the grant key")
    device_keys = {grant.content.serial: grant.content.device_key for grant in facts.grants}
    for returned in facts.returns:
        serial = returned.content.serial
        key = _must_parse(device_keys[serial])
        yield _Expanded(
            f"return-{serial.hex()}", SignedType.GRANT_RETURN, returned.signed, key, f"phone {serial.hex()}"
        )
    for place, sale in enumerate(facts.sales, start=1):
        yield from _expanded_sale(place, sale)


def _expanded_sale(place: int, sale: SaleFact) -> Iterable[_Expanded]:
    terminal = f"terminal {sale.record.content.terminal_id.hex()}"
    key = _must_parse(sale.certificate.content.public_key)
    yield _Expanded(f"record-{place:03}", SignedType.RECORD, sale.record.signed, key, terminal)
    code = sale.code
    if code is None or code.mode is CodeMode.SESSION:
        return
    device_key = parse_public_key(code.grant.device_key)
    if not isinstance(device_key, Refusal):
        phone = f"phone {code.serial.hex()}"
        yield _Expanded(f"code-{place:03}", SignedType.PAYMENT_CODE, code_part(code), device_key, phone)


def _certificate_stem(content: TerminalCertificate) -> str:
    return f"{content.terminal_id.hex()}-{key_id_of(content.public_key).hex()}"


def _issuer_key(facts: Facts, use: RoleUse, key_id: KeyId) -> PublicKey:
    for _, issuer in facts.roles:
        if (issuer.role.use, issuer.key.key_id) == (use, key_id):
            return issuer.key
    raise ValueError("the facts hold a message of an issuer they do not name")


def _must_parse(raw: bytes) -> PublicKey:
    key = parse_public_key(raw)
    if isinstance(key, Refusal):
        raise ValueError(f"a key that has verified a message was refused: {key}")
    return key
