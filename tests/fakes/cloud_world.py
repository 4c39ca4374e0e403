"""A whole cloud on a real database, with enrolled boxes and funded phones, whose clock the test turns by hand.

A box here is only a key and a chain: it signs whatever the test wants, so that a hostile one can be played.
"""

import secrets
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from cloud.db import run_read, run_transaction, upgrade
from cloud.fleet.enrolment import Broker, Enrolment
from cloud.fleet.publishing import Limits
from cloud.foundation import Cloud, build_cloud
from cloud.ingest import chain_store
from cloud.ingest.service import Incoming, Reply, take_batches, take_hello
from cloud.ledger.entries import AccountKind, AccountRef
from cloud.ledger.service import read_balances
from cloud.merchants import service as merchant_service
from cloud.merchants.store import Merchant, Site
from cloud.reconciliation.service import Report, make_report
from cloud.settings import CloudSettings
from cloud.wallets import customer_service, service
from cloud.wallets.customer_store import Device, Wallet
from cloud.wallets.reserve import GrantPolicy
from cloud.wallets.service import GrantRequest
from cloud.wallets.store import IssuedGrant
from sync.acknowledgement import HELLO, ChainState, Hello
from sync.batch import encode_batch
from sync.certificate import TERMINAL_CERTIFICATE, TerminalCertificate
from sync.enrolment import ENROLMENT_ANSWER
from sync.grant import GRANT, Grant
from sync.ids import MerchantId, PaymentId, Serial, SiteId, TerminalId
from sync.keys import Ed25519SigningKey, SigningKey
from sync.message import Message
from sync.money import Money
from sync.online import ONLINE_REQUEST, OnlineRequest
from sync.payment_code import PaymentCode, make_payment_code
from sync.payment_request import PAYMENT_REQUEST, PaymentRequest, ShownRequest
from sync.record import RECORD, ClockConfidence, Record, RecordKind, SignedRecord
from sync.refusals import Refusal
from tests.fakes.fleet_keys import NewBox, make_keyring

START_MS = 1_800_000_000_000
OPERATOR_TOKEN = "operator-token-of-the-test"


@dataclass(slots=True)
class HandClock:
    """A clock that stands until it is turned."""

    wall_ms: int = START_MS

    def now_ms(self) -> int:
        return self.wall_ms

    def monotonic_ms(self) -> int:
        return self.wall_ms

    def pass_s(self, seconds: float) -> None:
        self.wall_ms += int(seconds * 1000)


@dataclass(slots=True)
class FakePhone:
    """A phone with one grant; it shows what the test says, honest or not."""

    wallet_id: str
    device_id: str
    grant: Message[Grant]
    key: SigningKey
    binding_key: SigningKey
    clock: HandClock
    last_counter: int = 0

    @property
    def serial(self) -> Serial:
        return self.grant.content.serial

    def code(self, *, counter: int | None = None, nonce: bytes | None = None, time_s: int | None = None) -> PaymentCode:
        """Show a fresh one-way code, counted as protocol §1 says unless the test says otherwise."""
        time_s = self.clock.now_ms() // 1000 if time_s is None else time_s
        if counter is None:
            counter = max(self.last_counter + 1, time_s - self.grant.content.issued_s)
            self.last_counter = counter
        challenge = nonce or secrets.token_bytes(8)
        return make_payment_code(self.grant, self.key, time_s=time_s, counter=counter, challenge=challenge)


@dataclass(slots=True)
class FakeBox:
    """An enrolled terminal's key and chain."""

    terminal_id: TerminalId
    epoch: int
    head_hash: bytes
    key: SigningKey
    clock: HandClock
    head_number: int = 0
    records: list[SignedRecord] = field(default_factory=list)
    certificate: Message[TerminalCertificate] | None = None
    link_key_pem: bytes = b""
    link_certificate: bytes = b""
    """The key of its link, and its X.509 certificate (DER)."""

    def sale(self, code: PaymentCode, amount_minor: int, **changes: Any) -> SignedRecord:
        """Sign a sale at the head of the chain; ``changes`` overwrite fields of the record."""
        fields: dict[str, Any] = {
            "kind": RecordKind.SALE,
            "payment_id": PaymentId(secrets.token_bytes(16)),
            "amount_minor": amount_minor,
            "code": code.encode(),
        }
        return self.append(**(fields | changes))

    def void(self, payment_id: PaymentId) -> SignedRecord:
        """Sign at the head of the chain that a payment is taken back."""
        return self.append(kind=RecordKind.VOID, payment_id=payment_id)

    def question(self, code: PaymentCode, amount_minor: int, **changes: Any) -> Message[OnlineRequest]:
        """Ask whether a sale may be made; ``changes`` overwrite fields of the request."""
        content = OnlineRequest(
            key_id=self.key.public_key.key_id,
            terminal_id=self.terminal_id,
            payment_id=PaymentId(secrets.token_bytes(16)),
            code=code.encode(),
            request=b"",
            amount_minor=amount_minor,
            currency="EUR",
            asked_at_ms=self.clock.now_ms(),
        )
        return ONLINE_REQUEST.sign(self.key, replace(content, **changes))

    def sale_of(self, question: Message[OnlineRequest], **changes: Any) -> SignedRecord:
        """Sign the sale that was asked about."""
        asked = question.content
        fields: dict[str, Any] = {"payment_id": asked.payment_id, "code": asked.code, "request": asked.request}
        return self.append(**(fields | {"amount_minor": asked.amount_minor} | changes))

    def request(self, amount_minor: int, **changes: Any) -> ShownRequest:
        """Show a payment request, good for two minutes."""
        assert self.certificate is not None
        content = PaymentRequest(
            key_id=self.key.public_key.key_id,
            payment_id=PaymentId(secrets.token_bytes(16)),
            amount_minor=amount_minor,
            currency="EUR",
            nonce=secrets.token_bytes(8),
            expires_s=self.clock.now_ms() // 1000 + 120,
        )
        return ShownRequest(PAYMENT_REQUEST.sign(self.key, replace(content, **changes)), self.certificate)

    def append(self, **fields: Any) -> SignedRecord:
        """Sign a record at the head of the chain and move the head."""
        record = self.sign(**fields)
        self.head_number, self.head_hash = record.content.number, record.hash
        self.records.append(record)
        return record

    def sign(self, **fields: Any) -> SignedRecord:
        """Sign a record without moving the head."""
        content = Record(
            key_id=self.key.public_key.key_id,
            terminal_id=self.terminal_id,
            epoch=self.epoch,
            number=self.head_number + 1,
            previous_hash=self.head_hash,
            kind=RecordKind.SALE,
            payment_id=PaymentId(bytes(16)),
            amount_minor=0,
            currency="EUR",
            code=b"",
            request=b"",
            approval=b"",
            policy_version=1,
            snapshot_version=1,
            sums_before=(0, 0, 0, 0),
            reason_bits=1,
            clock_confidence=ClockConfidence.SYNCED,
            authorised_at_ms=self.clock.now_ms(),
        )
        return RECORD.sign(self.key, replace(content, **fields))

    def hello(self, *, chain_state: ChainState = ChainState.SOUND) -> bytes:
        """Greet with the chain as it stands."""
        content = Hello(
            key_id=self.key.public_key.key_id,
            terminal_id=self.terminal_id,
            epoch=self.epoch,
            nonce=secrets.token_bytes(16),
            head_number=self.head_number,
            head_hash=self.head_hash,
            acknowledged_number=0,
            acknowledged_hash=bytes(32),
            chain_state=chain_state,
            sent_at_ms=self.clock.now_ms(),
        )
        return HELLO.sign(self.key, content).encode()


class CloudWorld:
    """The cloud with one merchant and one site; more are made by the test.

    ``limits`` are fields of the policy that differ from the defaults.
    """

    def __init__(
        self,
        folder: Path,
        database_url: str | None = None,
        *,
        clock: HandClock | None = None,
        limits: dict[str, int] | None = None,
        redis_url: str | None = None,
    ) -> None:
        self.clock = clock or HandClock()
        make_keyring(folder / "keys", now_ms=self.clock.now_ms())
        settings = CloudSettings(
            data_folder=folder,
            database_url=database_url,
            redis_url=redis_url,
            operator_token=SecretStr(OPERATOR_TOKEN),
        )
        upgrade(settings.effective_database_url)
        self.cloud: Cloud = build_cloud(settings, self.clock)
        if limits is not None:
            publisher = replace(self.cloud.publisher, limits=Limits.of("EUR", **limits))
            self.cloud = replace(self.cloud, publisher=publisher)
        self.engine = self.cloud.engine
        self._people = 0
        self.merchant_id = self.merchant("Corner shop")
        self.enrolment = Enrolment(
            self.cloud.publisher, chain_store.last_head, Broker("localhost", 8883), secrets.token_bytes
        )

    def close(self) -> None:
        self.cloud.close()

    def merchant(self, name: str) -> MerchantId:
        merchant = Merchant(MerchantId(secrets.token_bytes(8)), name, "food", "EUR", self.clock.now_ms())
        run_transaction(self.engine, lambda session: merchant_service.register_merchant(session, merchant))
        return merchant.merchant_id

    def enrolment_code(self, *, merchant_id: MerchantId | None = None) -> str:
        """Make a code for a new box in a new site of the merchant."""
        owner = merchant_id or self.merchant_id
        site = Site(SiteId(secrets.token_bytes(8)), owner, "Main street", self.clock.now_ms())
        now_ms = self.clock.now_ms()

        def work(session: Any) -> str:
            merchant_service.add_site(session, site)
            code, _ = self.enrolment.create_code(
                session, merchant_id=owner, site_id=site.site_id, name="Corner shop", now_ms=now_ms
            )
            return code

        return run_transaction(self.engine, work)

    def box(self, *, merchant_id: MerchantId | None = None) -> FakeBox:
        """Enrol a new box through the real enrolment."""
        code = self.enrolment_code(merchant_id=merchant_id)
        board = NewBox(hardware_serial=f"board-{secrets.token_hex(4)}")
        now_ms = self.clock.now_ms()

        def work(session: Any) -> bytes:
            answer = self.enrolment.enrol(session, board.request(code), now_ms=now_ms)
            assert isinstance(answer, bytes), answer
            return answer

        answer = ENROLMENT_ANSWER.read(run_transaction(self.engine, work))
        assert not isinstance(answer, Refusal)
        certificate = TERMINAL_CERTIFICATE.read(answer.content.certificate)
        assert not isinstance(certificate, Refusal)
        return FakeBox(
            certificate.content.terminal_id,
            answer.content.epoch,
            answer.content.previous_hash,
            board.signing_key,
            self.clock,
            certificate=certificate,
            link_key_pem=board.link_key_pem(),
            link_certificate=answer.content.link_certificate,
        )

    def phone(self, *, funds_minor: int = 500_00, total_minor: int = 200_00) -> FakePhone:
        """Open a funded, verified wallet with a phone and one grant."""
        self._people += 1
        number, now_ms = self._people, self.clock.now_ms()
        wallet = Wallet(
            wallet_id=customer_service.make_wallet_id(secrets.token_bytes),
            name=f"Customer {number}",
            email=f"customer{number}@example.org",
            phone=f"+4915100{number:05d}",
            currency="EUR",
            daily_limit_minor=10_000_00,
            created_at_ms=now_ms,
            kyc_verified=True,
        )
        binding_key, device_key = Ed25519SigningKey.generate(), Ed25519SigningKey.generate()
        device = Device(
            customer_service.make_device_id(secrets.token_bytes), wallet.wallet_id, binding_key.public_key.raw, now_ms
        )
        request = GrantRequest(
            wallet.wallet_id, device.device_id, Serial(secrets.token_bytes(8)), device_key.public_key.raw, False
        )

        def work(session: Any) -> IssuedGrant:
            customer_service.open_wallet(session, wallet)
            customer_service.bind_device(session, device)
            customer_service.top_up(
                session,
                wallet_id=wallet.wallet_id,
                amount=Money(funds_minor, "EUR"),
                idempotency_key=f"funding-{number}",
                now_ms=now_ms,
            )
            policy = GrantPolicy(limit_minor=50_00, total_minor=total_minor)
            granted = service.issue_grant(
                session, request, policy=policy, sign_grant=self.cloud.sign_grant, now_ms=now_ms
            )
            assert isinstance(granted, IssuedGrant), granted
            return granted

        granted = run_transaction(self.engine, work)
        grant = GRANT.read(granted.grant_bytes)
        assert not isinstance(grant, Refusal)
        return FakePhone(wallet.wallet_id, device.device_id, grant, device_key, binding_key, self.clock)

    def send(self, box: FakeBox, *records: SignedRecord) -> Reply:
        """Send records in one batch and return the one reply."""
        (reply,) = self.take(
            [(box, encode_batch(nonce=secrets.token_bytes(16), records=[r.encode() for r in records]))]
        )
        return reply

    def take(self, messages: list[tuple[FakeBox, bytes]]) -> list[Reply]:
        """Hand raw messages of several boxes to ingest, in one transaction."""
        incoming = [Incoming(box.terminal_id, payload) for box, payload in messages]
        judge, now_ms = self.cloud.judge(), self.clock.now_ms()
        return run_transaction(self.engine, lambda session: take_batches(session, incoming, judge=judge, now_ms=now_ms))

    def greet(self, box: FakeBox, payload: bytes) -> Reply | Refusal:
        incoming, now_ms = Incoming(box.terminal_id, payload), self.clock.now_ms()
        return run_transaction(self.engine, lambda session: take_hello(session, incoming, now_ms=now_ms))

    def report(self) -> Report:
        return run_read(self.engine, make_report)

    def balance(self, kind: AccountKind, owner: str) -> int:
        ref = AccountRef(kind, owner, "EUR")
        return run_read(self.engine, lambda session: read_balances(session, [ref]))[ref]
