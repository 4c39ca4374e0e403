"""A signed world in miniature: root, role keys, phones with grants, and terminals, the same ones in every run.

Every key, id and nonce is SHA-256 over the world's seed and a name, and P-256 signs by RFC 6979, so that a test and
``tools/make_vectors.py`` get the same bytes each time. Who knows the seed knows every private key: tests only.

    world = SignedWorld()
    phone = world.phone("alice")
    code = phone.one_way_code(time_s=NOW_S)
    assert verify_signatures(code, world.find_grant_issuer) is None
    box = world.terminal("box")
    first = box.sale(code, amount_minor=12_50)
    second = box.sale(phone.one_way_code(time_s=NOW_S + 5), amount_minor=3_00, after=first)

``**changes`` replace fields of the content *before* it is signed, so that a test can sign what nobody should.
"""

import hashlib
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from sync.acknowledgement import ACKNOWLEDGEMENT, HELLO, Acknowledgement, AckStatus, ChainState, Hello
from sync.approval import APPROVAL, Approval
from sync.certificate import TERMINAL_CERTIFICATE, TerminalCertificate
from sync.grant import GRANT, Grant
from sync.ids import KeyId, MerchantId, PaymentId, Serial, SiteId, TerminalId, make_payment_id
from sync.keys import Ed25519SigningKey, P256SigningKey, PublicKey, SigningKey
from sync.message import Message
from sync.online import ONLINE_REQUEST, OnlineRequest
from sync.payment_code import PaymentCode, make_payment_code, make_session_code
from sync.payment_request import PAYMENT_REQUEST, PaymentRequest, ShownRequest
from sync.policy import POLICY, Policy
from sync.receipt import RECEIPT, Receipt
from sync.record import GENESIS_HASH, RECORD, ClockConfidence, Record, RecordKind, SignedRecord
from sync.refusals import Refusal
from sync.roles import ROLE_KEY, Issuers, RoleKey, RoleUse, verify_role_key
from sync.trust_snapshot import TRUST_DELTA, TRUST_SNAPSHOT, HeldTrust, TrustDelta, TrustSnapshot, open_snapshot

NOW_S = 1_793_620_800
"""2 November 2026, 12:00:00 UTC: the moment at which this world stands."""
NOW_MS = NOW_S * 1000
HOUR_S = 3600
DAY_S = 24 * HOUR_S
TRUST_LIFETIME_MS = 72 * HOUR_S * 1000
GRANT_LIFETIME_S = 72 * HOUR_S
SESSION_LIFETIME_S = 300

_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


class Algorithm(Enum):
    """Which of the two signature algorithms a key of this world has."""

    ED25519 = "ed25519"
    P256 = "p256"


class Rfc6979SigningKey:
    """A P-256 key that signs deterministically (RFC 6979), so that signed bytes repeat; a ``SigningKey``."""

    def __init__(self, scalar: bytes) -> None:
        self._key = ec.derive_private_key(int.from_bytes(scalar, "big"), ec.SECP256R1())
        self._public_key = P256SigningKey(self._key).public_key

    @property
    def public_key(self) -> PublicKey:
        return self._public_key

    def sign(self, message: bytes) -> bytes:
        der = self._key.sign(message, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
        r, s = decode_dss_signature(der)
        return r.to_bytes(32, "big") + min(s, _P256_ORDER - s).to_bytes(32, "big")


@dataclass(frozen=True, slots=True)
class Phone:
    """A phone: the grant it holds and the key that is named there."""

    world: "SignedWorld"
    grant: Message[Grant]
    key: SigningKey

    def one_way_code(
        self, *, time_s: int = NOW_S, counter: int | None = None, nonce: bytes | None = None
    ) -> PaymentCode:
        """Return a one-way code; the counter is by default the seconds since issue, as protocol §1 has it."""
        counter = self._counter(time_s) if counter is None else counter
        nonce = self.world.fixed_bytes(f"nonce {time_s} {counter}", 8) if nonce is None else nonce
        return make_payment_code(self.grant, self.key, time_s=time_s, counter=counter, challenge=nonce)

    def two_way_code(self, request_hash: bytes, *, time_s: int = NOW_S, counter: int | None = None) -> PaymentCode:
        """Return a two-way code that answers the request with this 16-byte hash."""
        counter = self._counter(time_s) if counter is None else counter
        return make_payment_code(self.grant, self.key, time_s=time_s, counter=counter, challenge=request_hash)

    def _counter(self, time_s: int) -> int:
        return max(1, time_s - self.grant.content.issued_s)


@dataclass(frozen=True, slots=True)
class Terminal:
    """A box: its ids, its signing key and the certificate of the fleet CA."""

    world: "SignedWorld"
    key: SigningKey
    certificate: Message[TerminalCertificate]

    @property
    def key_id(self) -> KeyId:
        return self.key.public_key.key_id

    @property
    def terminal_id(self) -> TerminalId:
        return self.certificate.content.terminal_id

    def payment_id(self, number: int) -> PaymentId:
        """Return the payment id of this terminal's ``number``-th sale."""
        name = f"payment {self.terminal_id.hex()} {number}"
        return make_payment_id(now_ms=NOW_MS + number, random_bytes=lambda size: self.world.fixed_bytes(name, size))

    def record(self, *, after: SignedRecord | None = None, **changes: Any) -> SignedRecord:
        """Return the record after ``after`` in its chain, or the first of epoch 1: a sale of 10.00 without code."""
        number = 1 if after is None else after.content.number + 1
        content = Record(
            key_id=self.key_id,
            terminal_id=self.terminal_id,
            epoch=1 if after is None else after.content.epoch,
            number=number,
            previous_hash=GENESIS_HASH if after is None else after.hash,
            kind=RecordKind.SALE,
            payment_id=self.payment_id(number),
            amount_minor=10_00,
            currency=self.world.currency,
            code=b"",
            request=b"",
            approval=b"",
            policy_version=1,
            snapshot_version=1,
            sums_before=(0, 0, 0, 0),
            reason_bits=0,
            clock_confidence=ClockConfidence.SYNCED,
            authorised_at_ms=NOW_MS + number,
        )
        return RECORD.sign(self.key, replace(content, **changes))

    def sale(
        self, code: PaymentCode, *, amount_minor: int, after: SignedRecord | None = None, **changes: Any
    ) -> SignedRecord:
        """Return the record of an approved sale on ``code``."""
        return self.record(after=after, code=code.encode(), amount_minor=amount_minor, **changes)

    def receipt(self, record: SignedRecord, code: PaymentCode, **changes: Any) -> Message[Receipt]:
        """Return the customer's receipt for a sale record."""
        content = Receipt(
            key_id=self.key_id,
            terminal_id=self.terminal_id,
            epoch=record.content.epoch,
            number=record.content.number,
            record_hash=record.hash,
            payment_id=record.content.payment_id,
            serial=code.serial,
            counter=code.counter,
            amount_minor=record.content.amount_minor,
            currency=record.content.currency,
            time_ms=record.content.authorised_at_ms,
        )
        return RECEIPT.sign(self.key, replace(content, **changes))

    def request(self, *, amount_minor: int = 42_00, **changes: Any) -> ShownRequest:
        """Return a payment request for ``amount_minor``, good for two minutes."""
        content = PaymentRequest(
            key_id=self.key_id,
            payment_id=self.payment_id(0),
            amount_minor=amount_minor,
            currency=self.world.currency,
            nonce=self.world.fixed_bytes("request nonce", 8),
            expires_s=NOW_S + 120,
        )
        return ShownRequest(PAYMENT_REQUEST.sign(self.key, replace(content, **changes)), self.certificate)

    def online_request(self, code: PaymentCode, *, amount_minor: int, **changes: Any) -> Message[OnlineRequest]:
        """Return the question whether a sale of ``amount_minor`` on ``code`` may be made."""
        content = OnlineRequest(
            key_id=self.key_id,
            terminal_id=self.terminal_id,
            payment_id=self.payment_id(1),
            code=code.encode(),
            request=b"",
            amount_minor=amount_minor,
            currency=self.world.currency,
            asked_at_ms=NOW_MS,
        )
        return ONLINE_REQUEST.sign(self.key, replace(content, **changes))

    def hello(self, *, head: SignedRecord | None = None, nonce: bytes | None = None, **changes: Any) -> Message[Hello]:
        """Return a greeting of a box whose head is ``head`` and that has had nothing acknowledged."""
        content = Hello(
            key_id=self.key_id,
            terminal_id=self.terminal_id,
            epoch=1 if head is None else head.content.epoch,
            nonce=self.world.fixed_bytes("hello nonce", 16) if nonce is None else nonce,
            head_number=0 if head is None else head.content.number,
            head_hash=GENESIS_HASH if head is None else head.hash,
            acknowledged_number=0,
            acknowledged_hash=GENESIS_HASH,
            chain_state=ChainState.SOUND,
            sent_at_ms=NOW_MS,
        )
        return HELLO.sign(self.key, replace(content, **changes))


class SignedWorld:
    """Root, role keys and what they sign. Two worlds with one seed are byte for byte the same.

    ``algorithm`` is that of root and role keys; phones and terminals choose theirs. Role keys hold from 30 days
    before ``NOW_MS`` to 335 days after it.
    """

    def __init__(
        self, seed: str = "tillbox", *, algorithm: Algorithm = Algorithm.ED25519, currency: str = "EUR"
    ) -> None:
        self.seed = seed
        self.algorithm = algorithm
        self.currency = currency
        self.root = self.key("root")
        self.role_keys: dict[RoleUse, SigningKey] = {use: self.key(f"role {use.name}") for use in RoleUse}
        self.issuers = self._verified_issuers()

    def fixed_bytes(self, name: str, size: int) -> bytes:
        """Return ``size`` bytes (at most 32) that depend on the seed and ``name`` alone."""
        return hashlib.sha256(f"{self.seed}/{name}".encode()).digest()[:size]

    def key(self, name: str, algorithm: Algorithm | None = None) -> SigningKey:
        """Return the key of this name; by default of the world's own algorithm."""
        private = self.fixed_bytes(f"key {name}", 32)
        if (algorithm or self.algorithm) is Algorithm.ED25519:
            return Ed25519SigningKey.from_private_bytes(private)
        return Rfc6979SigningKey(private)

    def find_grant_issuer(self, key_id: KeyId, at_ms: int) -> PublicKey | Refusal:
        """What ``verify_signatures`` asks for."""
        return self.issuers.find(RoleUse.GRANT, key_id, at_ms=at_ms)

    def find_fleet_ca(self, key_id: KeyId, at_ms: int) -> PublicKey | Refusal:
        """What ``verify_payment_request`` asks for."""
        return self.issuers.find(RoleUse.FLEET_CA, key_id, at_ms=at_ms)

    def role_key(self, use: RoleUse, **changes: Any) -> Message[RoleKey]:
        """Return the root's statement about the role key for ``use``."""
        content = RoleKey(
            key_id=self.root.public_key.key_id,
            use=use,
            version=1,
            public_key=self.role_keys[use].public_key.raw,
            not_before_ms=NOW_MS - 30 * DAY_S * 1000,
            not_after_ms=NOW_MS + 335 * DAY_S * 1000,
        )
        return ROLE_KEY.sign(self.root, replace(content, **changes))

    def snapshot(
        self, *, version: int = 1, denied: tuple[Serial, ...] = (), key: SigningKey | None = None, **changes: Any
    ) -> Message[TrustSnapshot]:
        """Return a full trust snapshot of 72 hours with all role keys, signed by the trust key or by ``key``."""
        key = key or self.role_keys[RoleUse.TRUST]
        content = TrustSnapshot(
            key_id=key.public_key.key_id,
            version=version,
            issued_ms=NOW_MS - 1000,
            expires_ms=NOW_MS - 1000 + TRUST_LIFETIME_MS,
            role_keys=tuple(self.role_key(use).encode() for use in RoleUse),
            denied=tuple(sorted(denied)),
        )
        return TRUST_SNAPSHOT.sign(key, replace(content, **changes))

    def delta(
        self,
        *,
        base_version: int = 1,
        denied: tuple[Serial, ...] = (),
        no_longer_denied: tuple[Serial, ...] = (),
        key: SigningKey | None = None,
        **changes: Any,
    ) -> Message[TrustDelta]:
        """Return the delta that turns the snapshot of ``base_version`` into the next version."""
        key = key or self.role_keys[RoleUse.TRUST]
        content = TrustDelta(
            key_id=key.public_key.key_id,
            version=base_version + 1,
            base_version=base_version,
            issued_ms=NOW_MS,
            expires_ms=NOW_MS + TRUST_LIFETIME_MS,
            denied=tuple(sorted(denied)),
            no_longer_denied=tuple(sorted(no_longer_denied)),
        )
        return TRUST_DELTA.sign(key, replace(content, **changes))

    def held_trust(self, *, version: int = 1, denied: tuple[Serial, ...] = ()) -> HeldTrust:
        """Return the snapshot as a box holds it once it is verified."""
        encoded = self.snapshot(version=version, denied=denied).encode()
        held = open_snapshot(encoded, self.root.public_key, held_version=0, now_ms=NOW_MS)
        if isinstance(held, Refusal):
            raise ValueError(f"this world's own snapshot was refused: {held}")
        return held

    def policy(self, *, version: int = 1, key: SigningKey | None = None, **changes: Any) -> Message[Policy]:
        """Return a policy with the default ceilings, signed by the policy key or by ``key``."""
        key = key or self.role_keys[RoleUse.POLICY]
        content = Policy(
            key_id=key.public_key.key_id,
            version=version,
            issued_ms=NOW_MS - 1000,
            expires_ms=NOW_MS - 1000 + TRUST_LIFETIME_MS,
            currency=self.currency,
        )
        return POLICY.sign(key, replace(content, **changes))

    def phone(self, name: str, *, algorithm: Algorithm = Algorithm.ED25519, **changes: Any) -> Phone:
        """Return the phone of ``name`` with a grant of 72 hours made an hour ago: 50.00 a payment, 200.00 in all."""
        key = self.key(f"phone {name}", algorithm)
        return Phone(self, self.grant(name, device_key=key.public_key.raw, **changes), key)

    def session_code(self, name: str, **changes: Any) -> PaymentCode:
        """Return the code of a payment session of ``name``: no device key, five minutes."""
        session = {"issued_s": NOW_S - 10, "lifetime_s": SESSION_LIFETIME_S}
        return make_session_code(self.grant(f"session {name}", device_key=b"", **(session | changes)))

    def grant(self, name: str, *, device_key: bytes, **changes: Any) -> Message[Grant]:
        """Return a grant for ``device_key``; empty bytes make it one for a session code."""
        key = self.role_keys[RoleUse.GRANT]
        content = Grant(
            key_id=key.public_key.key_id,
            serial=Serial(self.fixed_bytes(f"serial {name}", 8)),
            device_key=device_key,
            issued_s=NOW_S - HOUR_S,
            lifetime_s=GRANT_LIFETIME_S,
            limit_minor=50_00,
            total_minor=200_00,
            currency=self.currency,
        )
        return GRANT.sign(key, replace(content, **changes))

    def terminal(
        self, name: str, *, merchant: str = "merchant", site: str = "site", algorithm: Algorithm = Algorithm.ED25519
    ) -> Terminal:
        """Return the terminal of ``name`` with a certificate of 90 days."""
        key = self.key(f"terminal {name}", algorithm)
        fleet_ca = self.role_keys[RoleUse.FLEET_CA]
        content = TerminalCertificate(
            key_id=fleet_ca.public_key.key_id,
            terminal_id=TerminalId(self.fixed_bytes(f"terminal id {name}", 8)),
            merchant_id=MerchantId(self.fixed_bytes(f"merchant id {merchant}", 8)),
            site_id=SiteId(self.fixed_bytes(f"site id {merchant}/{site}", 8)),
            name=name,
            public_key=key.public_key.raw,
            not_before_s=NOW_S - DAY_S,
            not_after_s=NOW_S + 89 * DAY_S,
        )
        return Terminal(self, key, TERMINAL_CERTIFICATE.sign(fleet_ca, content))

    def approval(self, shown: ShownRequest, **changes: Any) -> Message[Approval]:
        """Return the cloud's approval of a payment request, good for two minutes."""
        key = self.role_keys[RoleUse.APPROVAL]
        request = shown.request.content
        content = Approval(
            key_id=key.public_key.key_id,
            request_hash=shown.short_hash,
            payment_id=request.payment_id,
            amount_minor=request.amount_minor,
            currency=request.currency,
            expires_s=NOW_S + 120,
        )
        return APPROVAL.sign(key, replace(content, **changes))

    def acknowledgement(
        self, head: SignedRecord, *, nonce: bytes, status: AckStatus = AckStatus.OK, **changes: Any
    ) -> Message[Acknowledgement]:
        """Return the cloud's word that everything up to ``head`` is committed, in answer to ``nonce``."""
        key = self.role_keys[RoleUse.ACKNOWLEDGEMENT]
        content = Acknowledgement(
            key_id=key.public_key.key_id,
            terminal_id=head.content.terminal_id,
            epoch=head.content.epoch,
            number=head.content.number,
            head_hash=head.hash,
            nonce=nonce,
            status=status,
            cloud_time_ms=NOW_MS,
        )
        return ACKNOWLEDGEMENT.sign(key, replace(content, **changes))

    def _verified_issuers(self) -> Issuers:
        issuers = []
        for use in RoleUse:
            issuer = verify_role_key(self.role_key(use).encode(), self.root.public_key)
            if isinstance(issuer, Refusal):
                raise ValueError(f"this world's own role key was refused: {issuer}")
            issuers.append(issuer)
        return Issuers(tuple(issuers))
