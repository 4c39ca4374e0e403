"""Enrolment, the box's side: the same request until it is answered, and nothing stored that does not verify."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from edge.enrolment import Post, enrol
from edge.errors import AlreadyProvisionedError, EdgeError, EnrolmentError, OutboxUnsafeError
from edge.outbox import Outbox, provision_outbox
from edge.trust import Identity, Trust
from sync.enrolment import ENROLMENT_REQUEST, EnrolmentRequest
from sync.ids import TerminalId
from sync.keys import Ed25519SigningKey, SigningKey
from sync.message import Message
from sync.record import GENESIS_HASH
from sync.refusals import Refusal
from sync.roles import RoleUse
from tests.fakes.edge_world import ENROLMENT_CODE, EdgeWorld, EnrolmentDesk, p256_key, private_pem, x509_certificate
from tests.fakes.signed_world import Algorithm, SignedWorld

STRANGERS = SignedWorld("strangers", algorithm=Algorithm.P256)
STRANGERS_DESK = EnrolmentDesk(STRANGERS, policy=STRANGERS.policy().encode(), snapshot=STRANGERS.snapshot().encode())


@pytest.fixture
def surroundings(tmp_path: Path) -> EdgeWorld:
    return EdgeWorld(tmp_path)


async def enrol_at(
    surroundings: EdgeWorld,
    post: Post | None,
    *,
    code: str = ENROLMENT_CODE,
    signing_key: SigningKey | None = None,
    link_key_pem: bytes | None = None,
    cloud_url: str = "https://cloud.test/",
    nonce: bytes = bytes(16),
) -> Identity:
    return await enrol(
        surroundings.settings,
        root=surroundings.world.root.public_key,
        signing_key=signing_key or surroundings.terminal.key,
        link_key_pem=link_key_pem or surroundings.link_key_pem,
        cloud_url=cloud_url,
        code=code,
        hardware_serial="test-board",
        random_bytes=lambda size: nonce[:size],
        post=post,
    )


def sent(surroundings: EdgeWorld, at: int = -1) -> Message[EnrolmentRequest]:
    request = ENROLMENT_REQUEST.read(surroundings.desk.requests[at])
    assert not isinstance(request, Refusal)
    return request


def stored_files(surroundings: EdgeWorld) -> set[str]:
    folder = surroundings.settings.data_folder
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


async def test_the_box_proves_both_keys(surroundings: EdgeWorld) -> None:
    await enrol_at(surroundings, surroundings.desk.post, nonce=b"n" * 16)
    request = sent(surroundings)
    assert surroundings.desk.urls == ["https://cloud.test/v1/enrolments"]
    assert ENROLMENT_REQUEST.verify(request, surroundings.terminal.key.public_key) is None
    assert request.content.public_key == surroundings.terminal.key.public_key.raw
    assert (request.content.code, request.content.hardware_serial) == (ENROLMENT_CODE, "test-board")
    assert request.content.nonce == b"n" * 16
    link_request = x509.load_der_x509_csr(request.content.link_request)
    assert link_request.is_signature_valid
    own = serialization.load_pem_private_key(surroundings.link_key_pem, password=None)
    assert isinstance(own, ec.EllipticCurvePrivateKey)
    assert link_request.public_key() == own.public_key()


async def test_an_enrolled_box_has_all_it_needs_to_start_without_network(surroundings: EdgeWorld) -> None:
    identity = await enrol_at(surroundings, surroundings.desk.post)
    assert identity.terminal.terminal_id == surroundings.terminal.terminal_id
    settings = surroundings.settings
    trust = Trust.load(settings.trust_folder, surroundings.world.root.public_key)
    assert trust.identity.answer.broker_host == "broker.test"
    link = x509.load_pem_x509_certificate(settings.link_certificate_file.read_bytes())
    link.verify_directly_issued_by(x509.load_pem_x509_certificate(settings.link_ca_file.read_bytes()))
    async with await Outbox.open(settings.outbox_file, terminal_id=trust.identity.terminal.terminal_id, epoch=1) as box:
        state = await box.state()
    assert (state.head_number, state.head_hash) == (0, GENESIS_HASH)


async def test_a_later_epoch_continues_behind_the_head_that_the_cloud_holds(surroundings: EdgeWorld) -> None:
    surroundings.desk.changes.update(epoch=3, previous_hash=b"h" * 32)
    identity = await enrol_at(surroundings, surroundings.desk.post)
    settings = surroundings.settings
    async with await Outbox.open(settings.outbox_file, terminal_id=identity.terminal.terminal_id, epoch=3) as box:
        assert (await box.state()).head_hash == b"h" * 32


async def test_an_enrolled_box_is_not_enrolled_again(surroundings: EdgeWorld) -> None:
    await enrol_at(surroundings, surroundings.desk.post)
    with pytest.raises(AlreadyProvisionedError):
        await enrol_at(surroundings, surroundings.desk.post)
    assert len(surroundings.desk.requests) == 1


async def test_after_a_lost_answer_the_same_request_is_sent_again(surroundings: EdgeWorld) -> None:
    def lose_the_answer(url: str, body: bytes) -> bytes:
        surroundings.desk.post(url, body)
        raise EnrolmentError("The cloud was not reached.")

    with pytest.raises(EnrolmentError, match="not reached"):
        await enrol_at(surroundings, lose_the_answer, nonce=b"1" * 16)
    assert stored_files(surroundings) == {"trust/request.cbor"}
    await enrol_at(surroundings, surroundings.desk.post, nonce=b"2" * 16)
    first, second = surroundings.desk.requests
    assert first == second


async def test_another_code_makes_another_request(surroundings: EdgeWorld) -> None:
    surroundings.desk.changes["request_hash"] = bytes(32)
    with pytest.raises(EnrolmentError):
        await enrol_at(surroundings, surroundings.desk.post, code="AAAAAAAAAA", nonce=b"1" * 16)
    surroundings.desk.changes.clear()
    await enrol_at(surroundings, surroundings.desk.post, code="BBBBBBBBBB", nonce=b"2" * 16)
    assert [sent(surroundings, at).content.code for at in (0, 1)] == ["AAAAAAAAAA", "BBBBBBBBBB"]
    assert sent(surroundings).content.nonce == b"2" * 16


@pytest.mark.parametrize("spoilt", [b"", b"\x00", b"not a request"])
async def test_a_damaged_stored_request_is_made_anew(surroundings: EdgeWorld, spoilt: bytes) -> None:
    surroundings.settings.trust_folder.mkdir(parents=True)
    (surroundings.settings.trust_folder / "request.cbor").write_bytes(spoilt)
    await enrol_at(surroundings, surroundings.desk.post)
    assert sent(surroundings).content.code == ENROLMENT_CODE


async def test_a_stored_request_of_other_keys_is_made_anew(surroundings: EdgeWorld) -> None:
    surroundings.desk.changes["request_hash"] = bytes(32)
    for keys in (
        {"signing_key": surroundings.world.key("key before")},
        {"link_key_pem": private_pem(p256_key(surroundings.world, "link before"))},
    ):
        with pytest.raises(EnrolmentError):
            await enrol_at(surroundings, surroundings.desk.post, **keys)
    surroundings.desk.changes.clear()
    await enrol_at(surroundings, surroundings.desk.post)
    assert sent(surroundings).content.public_key == surroundings.terminal.key.public_key.raw


@pytest.mark.parametrize("typed", ["23456-789AB", "23456789ab", " 2345 6789 AB "])
async def test_a_code_counts_as_it_was_made_however_a_person_types_it(surroundings: EdgeWorld, typed: str) -> None:
    await enrol_at(surroundings, surroundings.desk.post, code=typed)
    assert sent(surroundings).content.code == ENROLMENT_CODE


@pytest.mark.parametrize("typed", ["", "23456789A", "23456789ABC", "ß" * 10, "23456789A\0"])
async def test_what_is_no_code_is_refused_before_anything_is_sent_or_stored(
    surroundings: EdgeWorld, typed: str
) -> None:
    with pytest.raises(EnrolmentError, match="An enrolment code has 10 letters and digits"):
        await enrol_at(surroundings, surroundings.desk.post, code=typed)
    assert surroundings.desk.requests == []
    assert not surroundings.settings.data_folder.exists()


Tamper = Callable[[EdgeWorld, Message[EnrolmentRequest]], dict[str, Any]]


def _other_link_certificate(surroundings: EdgeWorld, request: Message[EnrolmentRequest]) -> dict[str, Any]:
    other = p256_key(surroundings.world, "another link").public_key()
    ca_key = p256_key(surroundings.world, f"role {RoleUse.FLEET_CA.name}")
    return {"link_certificate": x509_certificate(other, subject="another", ca_key=ca_key)}


def _ed25519_link_certificate() -> bytes:
    key = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32))
    name = x509.Name([])
    template = x509.load_der_x509_certificate(STRANGERS_DESK.link_ca())
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(template.not_valid_before_utc)
    certificate = builder.not_valid_after(template.not_valid_after_utc).sign(key, None)
    return certificate.public_bytes(serialization.Encoding.DER)


SIGNED_BUT_WRONG: list[tuple[str, Tamper, str]] = [
    ("another request", lambda *_: {"request_hash": bytes(32)}, "The cloud answered another request."),
    ("no certificate", lambda *_: {"certificate": b""}, r"The cloud's answer is not genuine \(truncated\)"),
    (
        "strangers' certificate",
        lambda *_: {"certificate": STRANGERS.terminal("box").certificate.encode()},
        r"The cloud's answer is not genuine \(unknown_issuer\)",
    ),
    (
        "another box's certificate",
        lambda surroundings, _: {"certificate": surroundings.world.terminal("neighbour").certificate.encode()},
        "The cloud certified another box's key.",
    ),
    ("another link key", _other_link_certificate, "The cloud certified another box's key."),
    (
        "link certificate by strangers",
        lambda _, request: {"link_certificate": STRANGERS_DESK.link_certificate(request.content.link_request)},
        "The link's certificate is not of the fleet's authority.",
    ),
    (
        "link certificate unreadable",
        lambda *_: {"link_certificate": b"\x30\x00"},
        "The cloud sent a certificate that cannot be read.",
    ),
    (
        "link certificate of another kind",
        lambda *_: {"link_certificate": _ed25519_link_certificate()},
        "The cloud sent a certificate for an unsuitable key.",
    ),
    ("strangers' ca", lambda *_: {"link_ca": STRANGERS_DESK.link_ca()}, "authority is not the fleet's"),
    ("ca unreadable", lambda *_: {"link_ca": b""}, "The cloud sent a certificate that cannot be read."),
    (
        "strangers' list",
        lambda *_: {"snapshot": STRANGERS.snapshot().encode()},
        "The cloud's trust list does not stand under the pinned root",
    ),
    ("list unreadable", lambda *_: {"snapshot": b""}, "The cloud's trust list does not stand under the pinned root"),
    ("strangers' limits", lambda *_: {"policy": STRANGERS.policy().encode()}, "The cloud's limits are not genuine"),
    ("limits unreadable", lambda *_: {"policy": b""}, "The cloud's limits are not genuine"),
]


@pytest.mark.parametrize("tamper, says", [pytest.param(*row[1:], id=row[0]) for row in SIGNED_BUT_WRONG])
async def test_an_answer_that_says_something_wrong_is_refused_and_nothing_of_it_stored(
    surroundings: EdgeWorld, tamper: Tamper, says: str
) -> None:
    def post(url: str, body: bytes) -> bytes:
        request = ENROLMENT_REQUEST.read(body)
        assert not isinstance(request, Refusal)
        surroundings.desk.changes.update(tamper(surroundings, request))
        return surroundings.desk.post(url, body)

    with pytest.raises(EnrolmentError, match=says):
        await enrol_at(surroundings, post)
    assert stored_files(surroundings) == {"trust/request.cbor"}


@pytest.mark.parametrize("share", [0, 0.01, 0.2, 0.4, 0.6, 0.8, 0.99, 1])
async def test_an_answer_with_one_bit_turned_anywhere_is_refused(surroundings: EdgeWorld, share: float) -> None:
    def post(url: str, body: bytes) -> bytes:
        answer = bytearray(surroundings.desk.post(url, body))
        answer[round(share * (len(answer) - 1))] ^= 1
        return bytes(answer)

    with pytest.raises(EnrolmentError):
        await enrol_at(surroundings, post)
    assert stored_files(surroundings) == {"trust/request.cbor"}


@pytest.mark.parametrize("answer", [b"", b"<html>Welcome to the hotel's network</html>", b"\x82\x40\x40"])
async def test_what_is_no_answer_is_refused(surroundings: EdgeWorld, answer: bytes) -> None:
    with pytest.raises(EnrolmentError, match="The cloud's answer cannot be read"):
        await enrol_at(surroundings, lambda *_: answer)


async def test_a_whole_cloud_of_strangers_is_refused(surroundings: EdgeWorld) -> None:
    with pytest.raises(EnrolmentError, match="does not stand under the pinned root"):
        await enrol_at(surroundings, STRANGERS_DESK.post)


async def test_a_set_up_cut_off_at_its_last_step_is_finished_by_the_same_request(surroundings: EdgeWorld) -> None:
    await enrol_at(surroundings, surroundings.desk.post)
    settings = surroundings.settings
    outbox_before = settings.outbox_file.stat().st_ino
    (settings.trust_folder / "enrolment.cbor").unlink()
    await enrol_at(surroundings, surroundings.desk.post)
    assert surroundings.desk.requests[0] == surroundings.desk.requests[1]
    assert settings.outbox_file.stat().st_ino == outbox_before


async def test_an_outbox_of_another_terminal_is_left_alone_and_stops_the_enrolment(surroundings: EdgeWorld) -> None:
    settings = surroundings.settings
    settings.data_folder.mkdir(parents=True)
    provision_outbox(
        settings.outbox_file, terminal_id=TerminalId(b"another."), epoch=1, previous_head_hash=GENESIS_HASH
    )
    before = settings.outbox_file.read_bytes()
    with pytest.raises(OutboxUnsafeError, match="belongs to another terminal"):
        await enrol_at(surroundings, surroundings.desk.post)
    assert settings.outbox_file.read_bytes() == before
    assert not (settings.trust_folder / "enrolment.cbor").exists()


@pytest.mark.parametrize(
    "url",
    [
        "http://cloud.test",
        "http://127.0.0.1.cloud.test",
        "http://localhost.cloud.test:80",
        "http://localhost@cloud.test",
        "ftp://127.0.0.1",
        "file:///etc/passwd",
        "cloud.test",
        "",
    ],
)
async def test_the_code_never_leaves_the_box_in_the_clear(surroundings: EdgeWorld, url: str) -> None:
    with pytest.raises(EnrolmentError, match="address must begin with https://"):
        await enrol_at(surroundings, None, cloud_url=url)


async def test_a_link_key_of_the_wrong_kind_is_named(surroundings: EdgeWorld) -> None:
    key = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32))
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    with pytest.raises(EnrolmentError, match="unsuitable kind"):
        await enrol_at(surroundings, surroundings.desk.post, link_key_pem=pem)


async def test_every_refusal_says_what_was_not_lost_and_what_to_do(surroundings: EdgeWorld) -> None:
    with pytest.raises(EdgeError) as refused:
        await enrol_at(surroundings, lambda *_: b"")
    assert refused.value.code == "enrolment_failed"
    assert "its keys and its request are kept" in str(refused.value)
    assert "try again" in str(refused.value)


async def test_a_box_with_a_key_it_made_itself_is_enrolled(surroundings: EdgeWorld) -> None:
    key = Ed25519SigningKey.generate()
    identity = await enrol_at(surroundings, surroundings.desk.post, signing_key=key)
    assert replace(identity.terminal, public_key=b"") == replace(
        surroundings.terminal.certificate.content, public_key=b""
    )
    assert identity.terminal.public_key == key.public_key.raw
