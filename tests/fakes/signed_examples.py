"""One signed message of every kind, made in a ``SignedWorld``: what tests of "all types" and the vectors go through."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sync.acknowledgement import ACKNOWLEDGEMENT, HELLO
from sync.approval import APPROVAL
from sync.certificate import TERMINAL_CERTIFICATE
from sync.enrolment import ENROLMENT_ANSWER, ENROLMENT_REQUEST, EnrolmentAnswer, EnrolmentRequest
from sync.envelope import SignedType
from sync.grant import GRANT
from sync.grant_return import GRANT_RETURN, GrantReturn
from sync.keys import SigningKey
from sync.message import Message, MessageKind
from sync.online import (
    COMMAND,
    ONLINE_ANSWER,
    ONLINE_REQUEST,
    Command,
    CommandName,
    OnlineAnswer,
    OnlineOutcome,
    OnlineReason,
)
from sync.payment_code import PaymentCode
from sync.payment_request import PAYMENT_REQUEST
from sync.policy import POLICY
from sync.receipt import RECEIPT
from sync.record import GENESIS_HASH, RECORD
from sync.roles import ROLE_KEY, RoleUse
from sync.trust_snapshot import TRUST_DELTA, TRUST_SNAPSHOT
from tests.fakes.signed_world import NOW_MS, NOW_S, Algorithm, Phone, SignedWorld, Terminal

ALL_KINDS: dict[SignedType, MessageKind[Any]] = {
    kind.signed_type: kind
    for kind in (
        ROLE_KEY,
        TRUST_SNAPSHOT,
        TRUST_DELTA,
        POLICY,
        TERMINAL_CERTIFICATE,
        ENROLMENT_REQUEST,
        ENROLMENT_ANSWER,
        GRANT,
        GRANT_RETURN,
        PAYMENT_REQUEST,
        APPROVAL,
        RECEIPT,
        RECORD,
        HELLO,
        ACKNOWLEDGEMENT,
        ONLINE_REQUEST,
        ONLINE_ANSWER,
        COMMAND,
    )
}
"""Every kind that is an envelope; a payment code and a phone's request to the cloud have forms of their own."""


@dataclass(frozen=True, slots=True)
class Example:
    """A message, its kind, and the key that signed it."""

    kind: MessageKind[Any]
    message: Message[Any]
    key: SigningKey


def examples(world: SignedWorld, *, algorithm: Algorithm = Algorithm.ED25519) -> dict[SignedType, Example]:
    """Return one good message of every kind; phone and terminal have keys of ``algorithm``."""
    phone = world.phone("alice", algorithm=algorithm)
    box = world.terminal("Café 1", algorithm=algorithm)
    made = [*_from_above(world), *_about_phone(world, phone), *_about_terminal(world, box)]
    made += _of_terminal(world, box, phone.one_way_code())
    return {
        kind: Example(ALL_KINDS[kind], message, key)
        for kind, message, key in sorted(made, key=lambda example: list(ALL_KINDS).index(example[0]))
    }


Made = tuple[SignedType, Message[Any], SigningKey]


def _from_above(world: SignedWorld) -> Iterator[Made]:
    """What holds for everybody: role keys, trust, policy."""
    trust_key = world.role_keys[RoleUse.TRUST]
    denied = world.phone("mallory").grant.content.serial
    yield SignedType.ROLE_KEY, world.role_key(RoleUse.GRANT), world.root
    yield SignedType.TRUST_SNAPSHOT, world.snapshot(denied=(denied,)), trust_key
    yield SignedType.TRUST_DELTA, world.delta(denied=(denied,)), trust_key
    yield SignedType.POLICY, world.policy(), world.role_keys[RoleUse.POLICY]


def _about_phone(world: SignedWorld, phone: Phone) -> Iterator[Made]:
    """A phone's grant, and its word when it gives it back."""
    yield SignedType.GRANT, phone.grant, world.role_keys[RoleUse.GRANT]
    content = GrantReturn(
        key_id=phone.key.public_key.key_id,
        serial=phone.grant.content.serial,
        last_counter=3_630,
        shown=((3_600, 50_00), (3_630, 50_00)),
        returned_at_s=NOW_S + 60,
    )
    yield SignedType.GRANT_RETURN, GRANT_RETURN.sign(phone.key, content), phone.key


def _about_terminal(world: SignedWorld, box: Terminal) -> Iterator[Made]:
    """How a terminal enrols, and what the cloud says to it."""
    fleet_ca = world.role_keys[RoleUse.FLEET_CA]
    yield SignedType.TERMINAL_CERTIFICATE, box.certificate, fleet_ca
    yield SignedType.ENROLMENT_REQUEST, _enrolment_request(world, box.key), box.key
    yield SignedType.ENROLMENT_ANSWER, _enrolment_answer(world, box.certificate.encode()), fleet_ca
    approval_key, policy_key = world.role_keys[RoleUse.APPROVAL], world.role_keys[RoleUse.POLICY]
    answer = OnlineAnswer(
        key_id=approval_key.public_key.key_id,
        terminal_id=box.terminal_id,
        payment_id=box.payment_id(1),
        outcome=OnlineOutcome.APPROVED,
        reason=OnlineReason.NONE,
        amount_minor=12_50,
        currency=world.currency,
        expires_ms=NOW_MS + 120_000,
    )
    yield SignedType.ONLINE_ANSWER, ONLINE_ANSWER.sign(approval_key, answer), approval_key
    command = Command(
        key_id=policy_key.public_key.key_id,
        terminal_id=box.terminal_id,
        number=1,
        name=CommandName.SEND_NOW,
        argument=b"",
        expires_ms=NOW_MS + 120_000,
    )
    yield SignedType.COMMAND, COMMAND.sign(policy_key, command), policy_key


def _of_terminal(world: SignedWorld, box: Terminal, code: PaymentCode) -> Iterator[Made]:
    """What a terminal signs, and what answers it."""
    first = box.sale(code, amount_minor=12_50)
    shown = box.request()
    acknowledgement = world.acknowledgement(first, nonce=world.fixed_bytes("nonce", 16))
    yield SignedType.PAYMENT_REQUEST, shown.request, box.key
    yield SignedType.APPROVAL, world.approval(shown), world.role_keys[RoleUse.APPROVAL]
    yield SignedType.ONLINE_REQUEST, box.online_request(code, amount_minor=12_50), box.key
    yield SignedType.RECEIPT, box.receipt(first, code), box.key
    yield SignedType.RECORD, first, box.key
    yield SignedType.HELLO, box.hello(head=first), box.key
    yield SignedType.ACKNOWLEDGEMENT, acknowledgement, world.role_keys[RoleUse.ACKNOWLEDGEMENT]


def _enrolment_request(world: SignedWorld, key: SigningKey) -> Message[EnrolmentRequest]:
    content = EnrolmentRequest(
        key_id=key.public_key.key_id,
        code="K7QX2M9PTA",
        hardware_serial="10000000abcdef01",
        public_key=key.public_key.raw,
        link_request=b"PKCS#10 request, DER",
        nonce=world.fixed_bytes("enrolment nonce", 16),
    )
    return ENROLMENT_REQUEST.sign(key, content)


def _enrolment_answer(world: SignedWorld, certificate: bytes) -> Message[EnrolmentAnswer]:
    fleet_ca = world.role_keys[RoleUse.FLEET_CA]
    content = EnrolmentAnswer(
        key_id=fleet_ca.public_key.key_id,
        request_hash=world.fixed_bytes("request hash", 32),
        certificate=certificate,
        link_certificate=b"X.509 certificate, DER",
        link_ca=b"X.509 certificate of the fleet CA, DER",
        epoch=1,
        previous_hash=GENESIS_HASH,
        snapshot=world.snapshot().encode(),
        policy=world.policy().encode(),
        broker_host="broker.example",
        broker_port=8883,
    )
    return ENROLMENT_ANSWER.sign(fleet_ca, content)
