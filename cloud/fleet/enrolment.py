"""Enrols a box: from its signed request with a person's code to its certificates, chain, snapshot and policy.

Everything about one request happens in the caller's transaction, which MUST be committed after a refusal, too: the
counted try is in it. Whoever answers the box does so after the commit only.
"""

from collections.abc import Callable
from dataclasses import dataclass

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy.orm import Session

from cloud.fleet import authority, codes, enrolment_store, store
from cloud.fleet.enrolment_store import EnrolmentCode
from cloud.fleet.publishing import VALID_MS, Publisher
from cloud.fleet.states import EnrolmentRefusal, ReEnrolment, TerminalState
from cloud.fleet.store import LinkCertificate, Terminal, TerminalEpoch
from sync.enrolment import ENROLMENT_ANSWER, ENROLMENT_REQUEST, EnrolmentAnswer, EnrolmentRequest
from sync.ids import MerchantId, RandomBytes, SiteId, TerminalId
from sync.keys import PublicKey, parse_public_key
from sync.message import Message
from sync.record import GENESIS_HASH
from sync.refusals import Refusal

FAILURES_PER_HOUR_MAX = 100
_SELECTORS_MAX = 50

LastHead = Callable[[Session, TerminalId], bytes | None]
"""The last head the cloud holds of a terminal's records, over all its epochs; ``None`` when it holds none."""


@dataclass(frozen=True, slots=True)
class Broker:
    """Where a box finds the broker."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What enrolling needs besides the database."""

    publisher: Publisher
    last_head: LastHead
    broker: Broker
    random_bytes: RandomBytes

    def create_code(
        self, session: Session, *, merchant_id: MerchantId, site_id: SiteId, name: str, now_ms: int
    ) -> tuple[str, int]:
        """Make a code for one box of this merchant and site; answers it and when it expires. Only its hash is kept."""
        for _ in range(_SELECTORS_MAX):
            code, salt = codes.make_code(self.random_bytes), self.random_bytes(codes.SALT_SIZE)
            kept = EnrolmentCode(
                selector=codes.selector_of(code),
                salt=salt,
                code_hash=codes.hash_code(code, salt),
                merchant_id=merchant_id,
                site_id=site_id,
                name=name,
                created_ms=now_ms,
                expires_ms=now_ms + codes.VALIDITY_MS,
            )
            if enrolment_store.insert_code(session, kept):
                return code, kept.expires_ms
        raise RuntimeError("every selector drawn was taken: the random source repeats itself")

    def enrol(self, session: Session, encoded: bytes, *, now_ms: int) -> bytes | EnrolmentRefusal:
        """Enrol the box that sent this request; answers an encoded ``EnrolmentAnswer``.

        The same request gets the same answer for 72 hours, while it is the terminal's newest enrolment. A code is
        compared at most five times, whoever asks at once, and a request with a good code costs no try.
        """
        proven = read_request(encoded)
        if isinstance(proven, EnrolmentRefusal):
            return proven
        if (answer := self._find_answer(session, proven, now_ms=now_ms)) is not None:
            return answer
        if enrolment_store.failures_this_hour(session, now_ms=now_ms) >= FAILURES_PER_HOUR_MAX:
            return EnrolmentRefusal.TOO_MANY_ATTEMPTS
        code = self._check_code(session, proven.content.code, now_ms=now_ms)
        if code is None:
            # The same request may have been waiting for itself, sent again by a box that lost patience.
            if (answer := self._find_answer(session, proven, now_ms=now_ms)) is not None:
                return answer
            enrolment_store.count_failure(session, now_ms=now_ms)
            return EnrolmentRefusal.CODE_REFUSED
        opened = self._open_epoch(session, proven, code, now_ms=now_ms)
        if isinstance(opened, EnrolmentRefusal):
            enrolment_store.give_try_back(session, code.selector)
            return opened
        if not enrolment_store.use_up(session, code.selector, terminal_id=opened.terminal_id, now_ms=now_ms):
            raise RuntimeError("a code locked by this transaction was used by another")
        return self._answer(session, proven, opened, now_ms=now_ms)

    def find_answer(self, session: Session, encoded: bytes, *, now_ms: int) -> bytes | None:
        """The answer kept for this very request, to look up what became of a lost commit."""
        proven = read_request(encoded)
        return None if isinstance(proven, EnrolmentRefusal) else self._find_answer(session, proven, now_ms=now_ms)

    def _find_answer(self, session: Session, proven: "ProvenRequest", *, now_ms: int) -> bytes | None:
        found = enrolment_store.find_answer(session, proven.request_hash, since_ms=now_ms - VALID_MS)
        if found is None:
            return None
        terminal_id, epoch, answer = found
        terminal = store.find_terminals(session, [terminal_id])[terminal_id]
        is_newest = terminal.epoch == epoch and terminal.state is not TerminalState.RETIRED
        return answer if is_newest else None

    def _check_code(self, session: Session, typed: str, *, now_ms: int) -> EnrolmentCode | None:
        code = codes.normalise(typed)
        kept = enrolment_store.take_try(session, codes.selector_of(code), now_ms=now_ms)
        if kept is None:
            # An unknown code takes as long as a wrong one.
            codes.hash_code(code, bytes(codes.SALT_SIZE))
            return None
        return kept if codes.is_code(code, salt=kept.salt, expected=kept.code_hash) else None

    def _open_epoch(
        self, session: Session, proven: "ProvenRequest", code: EnrolmentCode, *, now_ms: int
    ) -> Terminal | EnrolmentRefusal:
        enrolled = store.find_enrolled(session, proven.hardware_serial)
        if enrolled is None:
            terminal = self._new_terminal(proven, code, now_ms=now_ms)
            if store.insert_terminal(session, terminal):
                _keep_epoch(session, terminal, previous_hash=GENESIS_HASH, now_ms=now_ms)
                return terminal
            # Another request for this board was faster, with a code of its own.
            enrolled = store.find_enrolled(session, proven.hardware_serial)
            if enrolled is None:
                raise RuntimeError("a board was enrolled and retired within one transaction of another")
        return self._re_enrol(session, enrolled, proven, code, now_ms=now_ms)

    def _re_enrol(
        self, session: Session, terminal: Terminal, proven: "ProvenRequest", code: EnrolmentCode, *, now_ms: int
    ) -> Terminal | EnrolmentRefusal:
        if (terminal.merchant_id, terminal.site_id) != (code.merchant_id, code.site_id):
            return EnrolmentRefusal.ENROLLED_ELSEWHERE
        public_key = proven.signing_key.raw
        if not store.reopen_terminal(session, terminal, name=code.name, public_key=public_key, now_ms=now_ms):
            key_id = proven.signing_key.key_id
            store.ask_re_enrolment(session, terminal.terminal_id, key_id=key_id, now_ms=now_ms)
            return EnrolmentRefusal.NEEDS_PERSON
        store.revoke_links(session, terminal.terminal_id, now_ms=now_ms)
        reopened = store.find_terminals(session, [terminal.terminal_id])[terminal.terminal_id]
        last_head = self.last_head(session, terminal.terminal_id)
        _keep_epoch(session, reopened, previous_hash=last_head or GENESIS_HASH, now_ms=now_ms)
        return reopened

    def _new_terminal(self, proven: "ProvenRequest", code: EnrolmentCode, *, now_ms: int) -> Terminal:
        return Terminal(
            terminal_id=TerminalId(self.random_bytes(8)),
            merchant_id=code.merchant_id,
            site_id=code.site_id,
            name=code.name,
            public_key=proven.signing_key.raw,
            hardware_serial=proven.hardware_serial,
            epoch=1,
            state=TerminalState.ACTIVE,
            reason="",
            next_action="",
            re_enrolment=ReEnrolment.NONE,
            re_enrolment_ms=None,
            re_enrolment_key_id=None,
            created_ms=now_ms,
        )

    def _answer(self, session: Session, proven: "ProvenRequest", terminal: Terminal, *, now_ms: int) -> bytes:
        ca = self.publisher.keyring.fleet_ca(now_ms=now_ms)
        link = authority.issue_link_certificate(ca, proven.link_key, terminal_id=terminal.terminal_id, now_ms=now_ms)
        ends_ms = int(link.not_valid_after_utc.timestamp()) * 1000
        store.insert_link(session, LinkCertificate(link.serial_number, terminal.terminal_id, ends_ms))
        identity = authority.TerminalIdentity(
            terminal.terminal_id, terminal.merchant_id, terminal.site_id, terminal.name
        )
        certificate = authority.issue_terminal_certificate(ca, identity, proven.signing_key, now_ms=now_ms)
        epoch = store.find_epochs(session, [(terminal.terminal_id, terminal.epoch)])
        answer = EnrolmentAnswer(
            key_id=ca.signing_key.public_key.key_id,
            request_hash=proven.request_hash,
            certificate=certificate.encode(),
            link_certificate=link.public_bytes(serialization.Encoding.DER),
            link_ca=ca.certificate.public_bytes(serialization.Encoding.DER),
            epoch=terminal.epoch,
            previous_hash=epoch[terminal.terminal_id, terminal.epoch].previous_hash,
            snapshot=self.publisher.refresh_snapshot(session, now_ms=now_ms).encoded,
            policy=self.publisher.refresh_policy(session, now_ms=now_ms).encoded,
            broker_host=self.broker.host,
            broker_port=self.broker.port,
        )
        encoded = ENROLMENT_ANSWER.sign(ca.signing_key, answer).encode()
        enrolment_store.insert_answer(
            session,
            proven.request_hash,
            terminal_id=terminal.terminal_id,
            epoch=terminal.epoch,
            answer=encoded,
            now_ms=now_ms,
        )
        return encoded


@dataclass(frozen=True, slots=True)
class ProvenRequest:
    """A request whose sender holds both keys in it; nothing is said of the code yet."""

    message: Message[EnrolmentRequest]
    signing_key: PublicKey
    link_key: ec.EllipticCurvePublicKey
    hardware_serial: str

    @property
    def content(self) -> EnrolmentRequest:
        return self.message.content

    @property
    def request_hash(self) -> bytes:
        return self.message.hash


def read_request(encoded: bytes) -> ProvenRequest | EnrolmentRefusal:
    """Read a request strictly and check the proof of possession of both its keys; looks at no code and no database."""
    message = ENROLMENT_REQUEST.read(encoded)
    if isinstance(message, Refusal):
        return EnrolmentRefusal.UNREADABLE_REQUEST
    signing_key = parse_public_key(message.content.public_key)
    if isinstance(signing_key, Refusal):
        return EnrolmentRefusal.SIGNING_KEY_UNUSABLE
    if ENROLMENT_REQUEST.verify(message, signing_key) is not None:
        return EnrolmentRefusal.SIGNING_KEY_NOT_PROVEN
    link_key = authority.read_link_request(message.content.link_request)
    if isinstance(link_key, EnrolmentRefusal):
        return link_key
    # Databases differ on blanks at the end of a key, so none are kept.
    hardware_serial = message.content.hardware_serial.strip()
    if not hardware_serial:
        return EnrolmentRefusal.UNREADABLE_REQUEST
    return ProvenRequest(message, signing_key, link_key, hardware_serial)


def _keep_epoch(session: Session, terminal: Terminal, *, previous_hash: bytes, now_ms: int) -> None:
    epoch = TerminalEpoch(terminal.terminal_id, terminal.epoch, terminal.public_key, previous_hash, now_ms)
    store.insert_epoch(session, epoch)
