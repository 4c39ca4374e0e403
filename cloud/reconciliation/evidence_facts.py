"""Reads what signed bytes prove: who signed which sale, and what contradicts what. Pure.

Builder and verifier of an evidence pack share this one reading, so that a pack never says more than its bytes do. All
of it stands on signatures, from the pinned root down; what only the cloud says is kept apart (``evidence_claims``).
"""

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from sync.certificate import TERMINAL_CERTIFICATE, TerminalCertificate
from sync.envelope import Signed
from sync.grant import GRANT, Grant
from sync.grant_return import GRANT_RETURN, GrantReturn
from sync.ids import Serial
from sync.keys import PublicKey, parse_public_key
from sync.message import Message
from sync.payment_code import CodeMode, PaymentCode, decode_payment_code, verify_signatures
from sync.record import RECORD, Record
from sync.refusals import Refusal
from sync.roles import Issuer, Issuers, RoleUse, verify_role_key

GENUINE = "genuine"
"""The verdict on a code whose signatures both hold; any other verdict is the refusal's name."""


class EvidenceRefusal(StrEnum):
    """Why a file is no evidence; the first fault found is named."""

    NOT_A_PACK = "not_a_pack"
    TOO_LARGE = "too_large"
    FILE_MISSING = "file_missing"
    FILE_UNKNOWN = "file_unknown"
    FILE_CHANGED = "file_changed"
    """A file is not the one that the manifest names."""
    CLAIMS_MALFORMED = "claims_malformed"
    ROLE_REFUSED = "role_refused"
    """A role key does not stand under the pinned root."""
    CERTIFICATE_REFUSED = "certificate_refused"
    RECORD_REFUSED = "record_refused"
    GRANT_REFUSED = "grant_refused"
    RETURN_REFUSED = "return_refused"
    SAYS_OTHERWISE = "says_otherwise"
    """A file says something else than what follows from the signed bytes."""
    CLAIMS_CONTRADICT = "claims_contradict"
    """The cloud's own figures do not fit the signed ones, or do not add up."""


@dataclass(frozen=True, slots=True)
class Flaw:
    """A refusal with the file or the payment that it is about."""

    refusal: EvidenceRefusal
    subject: str


class ProofKind(StrEnum):
    """What the signatures alone prove."""

    TWO_CONTENTS_ONE_COUNTER = "two_contents_one_counter"
    """The phone's key signed two payments under one counter."""
    MORE_THAN_THE_GRANT = "more_than_the_grant"
    """The phone's key signed away more than the grant allows in total."""
    ONE_CODE_TWICE = "one_code_twice"
    """Two sales stand on the very same code: that convicts no phone."""
    COUNTER_AFTER_RETURN = "counter_after_return"
    """The phone signed a last counter, and then a code beyond it."""


@dataclass(frozen=True, slots=True)
class Proof:
    """One contradiction; ``records`` are places in the pack from 1, amounts are in minor units."""

    kind: ProofKind
    serial: bytes
    records: tuple[int, ...]
    counter: int | None = None
    allowed_minor: int | None = None
    sum_minor: int | None = None


@dataclass(frozen=True, slots=True)
class SignedParts:
    """Everything signed that a pack holds, each as encoded; the records in the order in which they were received."""

    records: tuple[bytes, ...]
    certificates: tuple[bytes, ...]
    roles: tuple[bytes, ...]
    grants: tuple[bytes, ...]
    returns: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class SaleFact:
    """A sale with the certificate of the box that signed it; ``code`` is None where it cannot be read."""

    record: Message[Record]
    certificate: Message[TerminalCertificate]
    code: PaymentCode | None
    verdict: str

    @property
    def is_genuine(self) -> bool:
        return self.verdict == GENUINE


@dataclass(frozen=True, slots=True)
class Facts:
    """What the signed bytes say and prove."""

    root: PublicKey
    roles: tuple[tuple[bytes, Issuer], ...]
    certificates: tuple[Message[TerminalCertificate], ...]
    sales: tuple[SaleFact, ...]
    grants: tuple[Message[Grant], ...]
    returns: tuple[Message[GrantReturn], ...]
    proofs: tuple[Proof, ...]

    @property
    def issuers(self) -> Issuers:
        return Issuers(tuple(issuer for _, issuer in self.roles))


def examine(parts: SignedParts, root: PublicKey) -> Facts | Flaw:
    """Verify everything from the root down and say what it proves; the first signature that does not hold ends it.

    A payment code may be bad: then its record is evidence against the box, and the verdict names why.
    """
    roles = _roles(parts.roles, root)
    if isinstance(roles, Flaw):
        return roles
    issuers = Issuers(tuple(issuer for _, issuer in roles))
    certificates = _certificates(parts.certificates, issuers)
    if isinstance(certificates, Flaw):
        return certificates
    grants = _grants(parts.grants, issuers)
    if isinstance(grants, Flaw):
        return grants
    returns = _returns(parts.returns, grants)
    if isinstance(returns, Flaw):
        return returns
    sales = _sales(parts.records, certificates, issuers)
    if isinstance(sales, Flaw):
        return sales
    proofs = tuple(_proofs(sales, {each.content.serial: each.content for each in returns}))
    return Facts(root, roles, certificates, sales, grants, returns, proofs)


def content_hash(code: PaymentCode) -> bytes:
    """Return SHA-256 of what the phone signed."""
    return hashlib.sha256(code.signed_payload()).digest()


def code_part(code: PaymentCode) -> Signed:
    """Return the phone's part of a code as a signed message."""
    return Signed(code.signed_payload(), code.signature)


def _roles(encoded: Sequence[bytes], root: PublicKey) -> tuple[tuple[bytes, Issuer], ...] | Flaw:
    found: list[tuple[bytes, Issuer]] = []
    for each in encoded:
        issuer = verify_role_key(each, root)
        if isinstance(issuer, Refusal):
            return Flaw(EvidenceRefusal.ROLE_REFUSED, issuer.value)
        found.append((each, issuer))
    return tuple(found)


def _certificates(encoded: Sequence[bytes], issuers: Issuers) -> tuple[Message[TerminalCertificate], ...] | Flaw:
    def find(content: TerminalCertificate) -> PublicKey | Refusal:
        begins_ms, ends_ms = content.not_before_s * 1000, content.not_after_s * 1000
        return issuers.find_for_life(RoleUse.FLEET_CA, content.key_id, issued_ms=begins_ms, expires_ms=ends_ms)

    found: list[Message[TerminalCertificate]] = []
    for each in encoded:
        message = TERMINAL_CERTIFICATE.open(each, find)
        if isinstance(message, Refusal):
            return Flaw(EvidenceRefusal.CERTIFICATE_REFUSED, message.value)
        found.append(message)
    return tuple(found)


def _grants(encoded: Sequence[bytes], issuers: Issuers) -> tuple[Message[Grant], ...] | Flaw:
    def find(content: Grant) -> PublicKey | Refusal:
        begins_ms, ends_ms = content.issued_s * 1000, content.expires_s * 1000
        return issuers.find_for_life(RoleUse.GRANT, content.key_id, issued_ms=begins_ms, expires_ms=ends_ms)

    found: list[Message[Grant]] = []
    for each in encoded:
        message = GRANT.open(each, find)
        if isinstance(message, Refusal):
            return Flaw(EvidenceRefusal.GRANT_REFUSED, message.value)
        found.append(message)
    return tuple(found)


def _returns(encoded: Sequence[bytes], grants: Sequence[Message[Grant]]) -> tuple[Message[GrantReturn], ...] | Flaw:
    keys = {grant.content.serial: grant.content.device_key for grant in grants}

    def find(content: GrantReturn) -> PublicKey | Refusal:
        key = keys.get(content.serial)
        return Refusal.UNKNOWN_ISSUER if key is None else parse_public_key(key)

    found: list[Message[GrantReturn]] = []
    for each in encoded:
        message = GRANT_RETURN.open(each, find)
        if isinstance(message, Refusal):
            return Flaw(EvidenceRefusal.RETURN_REFUSED, message.value)
        found.append(message)
    return tuple(found)


def _sales(
    encoded: Sequence[bytes], certificates: Sequence[Message[TerminalCertificate]], issuers: Issuers
) -> tuple[SaleFact, ...] | Flaw:
    found: list[SaleFact] = []
    for place, each in enumerate(encoded, start=1):
        sale = _sale(each, certificates, issuers)
        if isinstance(sale, Refusal):
            return Flaw(EvidenceRefusal.RECORD_REFUSED, f"record {place}: {sale.value}")
        found.append(sale)
    return tuple(found)


def _sale(encoded: bytes, certificates: Sequence[Message[TerminalCertificate]], issuers: Issuers) -> SaleFact | Refusal:
    record = RECORD.read(encoded)
    if isinstance(record, Refusal):
        return record
    for certificate in certificates:
        key = parse_public_key(certificate.content.public_key)
        is_named = certificate.content.terminal_id == record.content.terminal_id
        if isinstance(key, Refusal) or not is_named or key.key_id != record.content.key_id:
            continue
        refusal = RECORD.verify(record, key)
        return refusal or _fact(record, certificate, issuers)
    return Refusal.UNKNOWN_ISSUER


def _fact(record: Message[Record], certificate: Message[TerminalCertificate], issuers: Issuers) -> SaleFact:
    code = decode_payment_code(record.content.code)
    if isinstance(code, Refusal):
        return SaleFact(record, certificate, None, code.value)
    refusal = verify_signatures(code, lambda key_id, at_ms: issuers.find(RoleUse.GRANT, key_id, at_ms=at_ms))
    return SaleFact(record, certificate, code, GENUINE if refusal is None else refusal.value)


def _proofs(sales: Sequence[SaleFact], returns: Mapping[Serial, GrantReturn]) -> list[Proof]:
    by_counter: defaultdict[tuple[Serial, int], dict[bytes, list[int]]] = defaultdict(lambda: defaultdict(list))
    by_serial: defaultdict[Serial, dict[bytes, int]] = defaultdict(dict)
    for place, sale in enumerate(sales, start=1):
        code = sale.code
        if code is None or not sale.is_genuine or code.mode is CodeMode.SESSION:
            continue
        content = content_hash(code)
        by_counter[code.serial, code.counter][content].append(place)
        by_serial[code.serial].setdefault(content, place)
    found = [proof for key in sorted(by_counter) for proof in _counter_proofs(key, by_counter[key], returns)]
    for serial in sorted(by_serial):
        found.extend(_sum_proofs(serial, sorted(by_serial[serial].values()), sales))
    return found


def _counter_proofs(
    key: tuple[Serial, int], contents: Mapping[bytes, list[int]], returns: Mapping[Serial, GrantReturn]
) -> list[Proof]:
    serial, counter = key
    places = sorted(place for each in contents.values() for place in each)
    found: list[Proof] = []
    if len(contents) > 1:
        found.append(Proof(ProofKind.TWO_CONTENTS_ONE_COUNTER, serial, tuple(places), counter))
    again = [tuple(each) for each in sorted(contents.values()) if len(each) > 1]
    found.extend(Proof(ProofKind.ONE_CODE_TWICE, serial, each, counter) for each in again)
    returned = returns.get(serial)
    if returned is not None and counter > returned.last_counter:
        found.append(Proof(ProofKind.COUNTER_AFTER_RETURN, serial, tuple(places), counter))
    return found


def _sum_proofs(serial: Serial, places: Sequence[int], sales: Sequence[SaleFact]) -> list[Proof]:
    """Each content once: whoever takes one code twice adds nothing to what the phone has signed."""
    total_minor = sum(sales[place - 1].record.content.amount_minor for place in places)
    code = sales[places[0] - 1].code
    if code is None or total_minor <= code.grant.total_minor:
        return []
    allowed_minor = code.grant.total_minor
    return [
        Proof(ProofKind.MORE_THAN_THE_GRANT, serial, tuple(places), allowed_minor=allowed_minor, sum_minor=total_minor)
    ]
