"""A provisioned box in a temporary folder: enrolled with real keys, a real outbox, and a clock the test turns.

    async with EdgeWorld(tmp_path).running() as box:
        products = await box.authorise(12_50, box.code("alice"))
        assert products.is_approved

Everything is real but what the test must rule: the hands of the clock (``edge_world.hands``), the link
(``edge_world.is_link_up``, and ``edge_world.publisher`` where the box is to ask the cloud), the lot
(``edge_world.draw``), and the card under the outbox (``edge_world.card``). Time stands still until
``edge_world.hands.pass_s(…)``. The keys are those of a ``SignedWorld`` (``edge_world.world``), in which this box is the
terminal "box".

``running()`` may be entered again: each time is a cold start from the folder alone. What the cloud does for a box,
``EnrolmentDesk`` and ``box.acknowledge()`` play.
"""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from edge.authorisation import Authorisation
from edge.authorise import Authoriser
from edge.box_clock import BoxClock, Hands
from edge.enrolment import enrol
from edge.health import HealthReader
from edge.outbox import Outbox
from edge.outbox_types import AcknowledgeOutcome
from edge.publisher import Publisher
from edge.questions import Questions
from edge.settings import TerminalSettings
from edge.signer import Signer
from edge.states import Sale
from edge.timekeeping import Contact
from edge.trust import Identity, Trust
from sync.certificate import TERMINAL_CERTIFICATE
from sync.enrolment import ENROLMENT_ANSWER, ENROLMENT_REQUEST, EnrolmentAnswer, EnrolmentRequest
from sync.ids import make_payment_id
from sync.message import Message
from sync.money import Money
from sync.payment_code import PaymentCode
from sync.record import GENESIS_HASH
from sync.refusals import Refusal
from sync.roles import RoleUse
from tests.fakes.signed_world import NOW_MS, Algorithm, Phone, SignedWorld

NEVER_DRAWN = 999_999
"""The lot that selects no sale for the cloud, unless the policy selects all of them."""
ENROLMENT_CODE = "23456789AB"
CLOUD_URL = "https://cloud.test"

_FILES_OF_SET_UP: dict[bytes, dict[Path, bytes]] = {}
"""What an enrolment left in the box's folder, by the policy it was enrolled with."""


@dataclass
class TurnedHands:
    """The machine's clocks, milliseconds; the test turns them."""

    system_ms: int = NOW_MS
    boot_clock_ms: int = 600_000
    boot_id: str = "boot-1"
    has_rtc: bool = True

    def pass_s(self, seconds: float) -> None:
        """Let time pass on both clocks."""
        self.system_ms += round(seconds * 1000)
        self.boot_clock_ms += round(seconds * 1000)

    def reboot(self, *, system_ms: int | None = None) -> None:
        """Start the board anew: the boot clock begins again, and the system clock may come up wrong."""
        self.boot_id += "+"
        self.boot_clock_ms = 20_000
        self.system_ms = self.system_ms if system_ms is None else system_ms

    def hands(self) -> Hands:
        """Return what the box reads time from."""
        return Hands(lambda: self.system_ms, lambda: self.boot_clock_ms, self.boot_id, self.has_rtc)


@dataclass
class Card:
    """The card under the outbox; ``commit_error`` is the SQLite code that COMMITs fail with, None while it is whole."""

    commit_error: int | None = None

    @property
    def connection_class(self) -> type[sqlite3.Connection]:
        card = self

        class ConnectionOnCard(sqlite3.Connection):
            def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
                if sql == "COMMIT" and card.commit_error is not None:
                    failure = sqlite3.OperationalError("the card failed")
                    failure.sqlite_errorcode = card.commit_error
                    raise failure
                return super().execute(sql, parameters)

        return ConnectionOnCard


class EnrolmentDesk:
    """The cloud's side of enrolment with real keys: answers the same request with an answer to the same content.

    ``changes`` replace fields of the answer before it is signed. The world's fleet CA must be P-256.
    """

    def __init__(self, world: SignedWorld, *, policy: bytes, snapshot: bytes) -> None:
        self._world = world
        self._policy = policy
        self._snapshot = snapshot
        self.changes: dict[str, Any] = {}
        self.urls: list[str] = []
        self.requests: list[bytes] = []

    def post(self, url: str, body: bytes) -> bytes:
        """Answer one enrolment request, in the place of ``edge.enrolment``'s own HTTP."""
        self.urls.append(url)
        self.requests.append(body)
        request = ENROLMENT_REQUEST.read(body)
        if isinstance(request, Refusal):
            raise ValueError(f"the box sent a request that cannot be read: {request}")
        return self.answer_to(request).encode()

    def answer_to(self, request: Message[EnrolmentRequest]) -> Message[EnrolmentAnswer]:
        """Return the signed answer to ``request``."""
        fleet_ca = self._world.role_keys[RoleUse.FLEET_CA]
        content = EnrolmentAnswer(
            key_id=fleet_ca.public_key.key_id,
            request_hash=request.hash,
            certificate=self.certificate(public_key=request.content.public_key),
            link_certificate=self.link_certificate(request.content.link_request),
            link_ca=self.link_ca(),
            epoch=1,
            previous_hash=GENESIS_HASH,
            snapshot=self._snapshot,
            policy=self._policy,
            broker_host="broker.test",
            broker_port=8883,
        )
        return ENROLMENT_ANSWER.sign(fleet_ca, replace(content, **self.changes))

    def certificate(self, **changes: Any) -> bytes:
        """Return the encoded terminal certificate of the terminal "box"."""
        content = replace(self._world.terminal("box").certificate.content, **changes)
        return TERMINAL_CERTIFICATE.sign(self._world.role_keys[RoleUse.FLEET_CA], content).encode()

    def link_ca(self) -> bytes:
        """Return the fleet CA's own X.509 certificate, DER."""
        key = p256_key(self._world, f"role {RoleUse.FLEET_CA.name}")
        return x509_certificate(key.public_key(), subject="Tillbox fleet CA", ca_key=key)

    def link_certificate(self, link_request: bytes) -> bytes:
        """Return the X.509 certificate for the box's link key, DER."""
        public_key = x509.load_der_x509_csr(link_request).public_key()
        if not isinstance(public_key, ec.EllipticCurvePublicKey):
            raise TypeError("a link key is P-256")
        ca_key = p256_key(self._world, f"role {RoleUse.FLEET_CA.name}")
        return x509_certificate(public_key, subject=self._world.terminal("box").terminal_id.hex(), ca_key=ca_key)


class EdgeWorld:
    """One box's surroundings: its folder and settings, its keys, its clock, its card and its network.

    ``policy`` replaces fields of the default policy. With ``has_contact`` false the box is as enrolment left it, so
    that the cloud never set its clock.
    """

    def __init__(self, folder: Path, *, policy: dict[str, Any] | None = None, has_contact: bool = True) -> None:
        self.world = SignedWorld(algorithm=Algorithm.P256)
        self.terminal = self.world.terminal("box")
        self.policy = self.world.policy(**(policy or {})).encode()
        self.desk = EnrolmentDesk(self.world, policy=self.policy, snapshot=self.world.snapshot().encode())
        self.settings = TerminalSettings(data_folder=folder / "box", free_bytes_min=0)
        self.hands = TurnedHands()
        self.card = Card()
        self.is_link_up = False
        self.link_words = ""
        self.publisher: Publisher | None = None
        self.draw = NEVER_DRAWN
        self._has_contact = has_contact

    @property
    def link_key_pem(self) -> bytes:
        """The private key of the box's TLS link."""
        return private_pem(p256_key(self.world, "link box"))

    async def set_up(self) -> None:
        """Make the box's folder, by a real enrolment for each policy once and from the files it left after that.

        An enrolment flushes a dozen files to the card, and most tests are about something else.
        """
        files = _FILES_OF_SET_UP.get(self.policy)
        if files is None:
            await self.enrol()
            root = self.settings.data_folder
            _FILES_OF_SET_UP[self.policy] = {
                path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()
            }
            return
        for name, content in files.items():
            path = self.settings.data_folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    async def enrol(self, *, code: str = ENROLMENT_CODE) -> Identity:
        """Enrol the box at ``desk``."""
        return await enrol(
            self.settings,
            root=self.world.root.public_key,
            signing_key=self.terminal.key,
            link_key_pem=self.link_key_pem,
            cloud_url=CLOUD_URL,
            code=code,
            hardware_serial="test-board",
            random_bytes=lambda size: self.world.fixed_bytes("enrolment nonce", size),
            post=self.desk.post,
        )

    @asynccontextmanager
    async def running(
        self, *, outbox_class: type[Outbox] = Outbox, free_bytes_min: int = 0
    ) -> AsyncIterator["RunningBox"]:
        """Start the box from its folder, setting it up before if need be, and stop it at the end."""
        is_new = not self.settings.outbox_file.exists()
        if is_new:
            await self.set_up()
        trust = Trust.load(self.settings.trust_folder, self.world.root.public_key)
        opening = outbox_class.open(
            self.settings.outbox_file,
            terminal_id=trust.identity.terminal.terminal_id,
            epoch=trust.identity.answer.epoch,
            connection_class=self.card.connection_class,
        )
        async with await opening as outbox:
            clock = await self._start_clock(outbox)
            box = RunningBox(self, trust=trust, outbox=outbox, clock=clock, free_bytes_min=free_bytes_min)
            if is_new and self._has_contact:
                await box.acknowledge()
            yield box

    async def _start_clock(self, outbox: Outbox) -> BoxClock:
        chain = await outbox.state()
        contact = None
        if chain.last_contact_boot_id == self.hands.boot_id and chain.last_contact_ms is not None:
            contact = Contact(chain.last_contact_ms, chain.last_contact_monotonic_ms or 0)
        return BoxClock(self.hands.hands(), floor_ms=chain.clock_floor_ms, contact=contact)


@dataclass
class RunningBox:
    """The parts of one box that runs, put together as production does."""

    surroundings: EdgeWorld
    trust: Trust
    outbox: Outbox
    clock: BoxClock
    free_bytes_min: int
    _counters: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.signer = Signer(self.surroundings.terminal.key, self.trust.identity.terminal.terminal_id)
        publisher = self.surroundings.publisher
        self.questions = None
        if publisher is not None:
            self.questions = Questions(publisher=publisher, trust=self.trust, clock=self.clock)
        self.authoriser = Authoriser(
            outbox=self.outbox,
            trust=self.trust,
            signer=self.signer,
            clock=self.clock,
            draw=lambda: self.surroundings.draw,
            is_link_up=lambda: self.surroundings.is_link_up,
            free_bytes_min=self.free_bytes_min,
            questions=self.questions,
        )
        self.health = HealthReader(
            outbox=self.outbox,
            trust=self.trust,
            clock=self.clock,
            link=lambda: (self.surroundings.is_link_up, self.surroundings.link_words),
            reader_note="",
            free_bytes_min=self.free_bytes_min,
        )

    @property
    def now_s(self) -> int:
        """What the box takes for the time, whole seconds."""
        return self.clock.now_ms() // 1000

    def phone(self, name: str, **grant_changes: Any) -> Phone:
        """Return the phone of ``name``."""
        return self.surroundings.world.phone(name, **grant_changes)

    def code(self, name: str, **grant_changes: Any) -> PaymentCode:
        """Return the next fresh one-way code of the phone of ``name``, with a counter not used before."""
        phone = self.phone(name, **grant_changes)
        since_issue_s = self.now_s - phone.grant.content.issued_s
        self._counters[name] = max(self._counters.get(name, 0) + 1, since_issue_s)
        return phone.one_way_code(time_s=self.now_s, counter=self._counters[name])

    def sale(self, amount_minor: int, *, currency: str | None = None) -> Sale:
        """Return a new sale with a payment id of its own."""
        payment_id = make_payment_id(now_ms=self.clock.now_ms(), random_bytes=self.next_random)
        return Sale(payment_id, Money(amount_minor, currency or self.trust.policy.currency))

    async def authorise(self, amount_minor: int, code: PaymentCode | str) -> Authorisation:
        """Run the whole chain for a new sale of ``amount_minor``."""
        text = code if isinstance(code, str) else code.to_text()
        return await self.authoriser.authorise(self.sale(amount_minor), text)

    async def acknowledge(self, *, cloud_time_ms: int | None = None) -> AcknowledgeOutcome:
        """Play contact: the cloud holds everything up to the head; its time is by default the system clock's."""
        chain = await self.outbox.state()
        contact_ms = self.surroundings.hands.system_ms if cloud_time_ms is None else cloud_time_ms
        self.clock.take(self.clock.step_by_cloud(contact_ms, floor_ms=chain.clock_floor_ms, round_trip_ms=0))
        return await self.outbox.acknowledge(
            number=chain.head_number,
            head_hash=chain.head_hash,
            contact_ms=contact_ms,
            boot_id=self.clock.boot_id,
            monotonic_ms=self.clock.boot_clock_ms(),
        )

    def next_random(self, size: int) -> bytes:
        self._counters["sales"] = self._counters.get("sales", 0) + 1
        return self.surroundings.world.fixed_bytes(f"sale {id(self)} {self._counters['sales']}", size)


def p256_key(world: SignedWorld, name: str) -> ec.EllipticCurvePrivateKey:
    """Return the private key that ``SignedWorld.key`` of a P-256 world has under ``name``, for X.509."""
    scalar = int.from_bytes(world.fixed_bytes(f"key {name}", 32), "big")
    return ec.derive_private_key(scalar, ec.SECP256R1())


def private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return the private key as an unencrypted PEM file."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def x509_certificate(
    public_key: ec.EllipticCurvePublicKey, *, subject: str, ca_key: ec.EllipticCurvePrivateKey
) -> bytes:
    """Return a certificate for ``public_key`` by the fleet CA (the CA's own, if it is its key), DER, good to 2050."""
    is_ca = public_key == ca_key.public_key()
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Tillbox fleet CA")]))
        .public_key(public_key)
        .serial_number(1 if is_ca else 2)
        .not_valid_before(datetime(2025, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2050, 1, 1, tzinfo=UTC))
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
    )
    return builder.sign(ca_key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)
