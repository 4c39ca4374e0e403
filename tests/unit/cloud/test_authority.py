"""What the fleet CA signs: for whom, for what, for how long; and which signing requests it takes."""

import ipaddress
from collections.abc import Callable
from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from cloud.fleet import authority
from cloud.fleet.authority import BACKDATED_MS, NameInvalidError, RevokedLink, TerminalIdentity
from cloud.fleet.enrolment import ProvenRequest, read_request
from cloud.fleet.states import EnrolmentRefusal
from cloud.keyring import FleetCa, Keyring
from sync.certificate import TERMINAL_CERTIFICATE
from sync.enrolment import ENROLMENT_REQUEST
from sync.envelope import Signed, SignedType, sign
from sync.ids import MerchantId, SiteId, TerminalId
from sync.keys import Ed25519SigningKey, P256SigningKey
from sync.message import Message
from sync.roles import RoleUse
from tests.fakes.fleet_keys import DAY_MS, HOUR_MS, NewBox, link_request, make_keyring

NOW_MS = 1_793_620_800_123
TERMINAL = TerminalId(bytes.fromhex("00000000000000aa"))
CODE = "23456789AB"


@pytest.fixture(scope="module")
def ring(tmp_path_factory: pytest.TempPathFactory) -> Keyring:
    return make_keyring(tmp_path_factory.mktemp("ceremony") / "keys", now_ms=NOW_MS)


@pytest.fixture(scope="module")
def ca(ring: Keyring) -> FleetCa:
    return ring.fleet_ca(now_ms=NOW_MS)


def name_of(certificate: x509.Certificate) -> str:
    return str(certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)


def usages_of(certificate: x509.Certificate) -> list[ObjectIdentifier]:
    return list(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)


def begins_ms(certificate: x509.Certificate) -> int:
    return int(certificate.not_valid_before_utc.timestamp()) * 1000


def ends_ms(certificate: x509.Certificate) -> int:
    return int(certificate.not_valid_after_utc.timestamp()) * 1000


def issue_link(ca: FleetCa, *, now_ms: int = NOW_MS) -> x509.Certificate:
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    return authority.issue_link_certificate(ca, key, terminal_id=TERMINAL, now_ms=now_ms)


# X.509


def test_a_link_certificate_is_a_client_named_by_its_terminal_for_90_days(ca: FleetCa) -> None:
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    certificate = authority.issue_link_certificate(ca, key, terminal_id=TERMINAL, now_ms=NOW_MS)
    certificate.verify_directly_issued_by(ca.certificate)
    assert name_of(certificate) == "00000000000000aa"
    assert certificate.public_key() == key
    assert usages_of(certificate) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert ends_ms(certificate) == (NOW_MS + 90 * DAY_MS) // 1000 * 1000
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert not certificate.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign


def test_no_certificate_begins_before_its_ca_or_outlives_it(ca: FleetCa) -> None:
    last_day_ms = ends_ms(ca.certificate) - DAY_MS
    certificates = [
        issue_link(ca, now_ms=last_day_ms),
        authority.issue_worker_certificate(ca, "cloud-ingest", now_ms=last_day_ms).certificate,
        authority.issue_server_certificate(ca, ["localhost"], now_ms=last_day_ms).certificate,
    ]
    assert {ends_ms(certificate) for certificate in certificates} == {ends_ms(ca.certificate)}
    assert begins_ms(issue_link(ca)) == begins_ms(ca.certificate)


def test_a_broker_is_a_server_under_all_its_names_from_the_cas_beginning(ca: FleetCa) -> None:
    now_ms = NOW_MS + 100 * DAY_MS
    issued = authority.issue_server_certificate(ca, ["broker.example", "127.0.0.1", "::1"], now_ms=now_ms)
    issued.certificate.verify_directly_issued_by(ca.certificate)
    names = issued.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["broker.example"]
    addresses = [ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1")]
    assert names.get_values_for_type(x509.IPAddress) == addresses
    assert usages_of(issued.certificate) == [ExtendedKeyUsageOID.SERVER_AUTH]
    # A box whose clock stands months behind still gets through to learn the time.
    assert begins_ms(issued.certificate) == begins_ms(ca.certificate)
    key = serialization.load_pem_private_key(issued.private_key_pem, password=None)
    assert key.public_key() == issued.certificate.public_key()


@pytest.mark.parametrize("name", ["", "under_score", "-dash", "dash-.example", "two words", "a" * 64, "a..b", "*.b"])
def test_what_is_no_name_gets_no_server_certificate(ca: FleetCa, name: str) -> None:
    with pytest.raises(NameInvalidError, match="no DNS name"):
        authority.issue_server_certificate(ca, [name], now_ms=NOW_MS)


def test_a_server_needs_a_name(ca: FleetCa) -> None:
    with pytest.raises(NameInvalidError, match="at least one"):
        authority.issue_server_certificate(ca, [], now_ms=NOW_MS)


def test_a_worker_is_a_client_named_cloud(ca: FleetCa) -> None:
    issued = authority.issue_worker_certificate(ca, "cloud-ingest-1", now_ms=NOW_MS)
    assert name_of(issued.certificate) == "cloud-ingest-1"
    assert usages_of(issued.certificate) == [ExtendedKeyUsageOID.CLIENT_AUTH]


@pytest.mark.parametrize("name", ["ingest", "cloud-", "00000000000000aa", "cloud-Ingest", "cloud-a b", "cloud-a/#"])
def test_no_worker_takes_another_kind_of_name(ca: FleetCa, name: str) -> None:
    with pytest.raises(NameInvalidError, match="cloud-…"):
        authority.issue_worker_certificate(ca, name, now_ms=NOW_MS)


def test_the_revocation_list_names_the_revoked_and_is_signed(ca: FleetCa) -> None:
    certificate, other = issue_link(ca), issue_link(ca)
    encoded = authority.export_revocations(
        ca, [RevokedLink(certificate.serial_number, NOW_MS - HOUR_MS)], now_ms=NOW_MS
    )
    listed = x509.load_pem_x509_crl(encoded)
    assert listed.is_signature_valid(ca.private_key.public_key())
    assert listed.issuer == ca.certificate.subject
    entry = listed.get_revoked_certificate_by_serial_number(certificate.serial_number)
    assert entry is not None
    assert int(entry.revocation_date_utc.timestamp()) == (NOW_MS - HOUR_MS) // 1000
    assert listed.get_revoked_certificate_by_serial_number(other.serial_number) is None
    assert listed.next_update_utc is not None
    assert int(listed.next_update_utc.timestamp()) == (NOW_MS + 30 * DAY_MS) // 1000


def test_an_empty_revocation_list_is_one_too(ca: FleetCa) -> None:
    assert len(x509.load_pem_x509_crl(authority.export_revocations(ca, [], now_ms=NOW_MS))) == 0


# Terminal certificates


@pytest.mark.parametrize("key", [Ed25519SigningKey.generate(), P256SigningKey.generate()])
def test_a_terminal_certificate_verifies_under_the_fleet_ca_for_its_whole_life(
    ring: Keyring, ca: FleetCa, key: Ed25519SigningKey | P256SigningKey
) -> None:
    identity = TerminalIdentity(TERMINAL, MerchantId(bytes(7) + b"\1"), SiteId(bytes(7) + b"\2"), "Kiosk Süd")
    encoded = authority.issue_terminal_certificate(ca, identity, key.public_key, now_ms=NOW_MS).encode()

    opened = TERMINAL_CERTIFICATE.open(
        encoded,
        lambda content: ring.issuers().find_for_life(
            RoleUse.FLEET_CA,
            content.key_id,
            issued_ms=content.not_before_s * 1000,
            expires_ms=content.not_after_s * 1000,
        ),
    )
    assert isinstance(opened, Message)
    content = opened.content
    assert (content.terminal_id, content.merchant_id, content.site_id) == (
        identity.terminal_id,
        identity.merchant_id,
        identity.site_id,
    )
    assert (content.name, content.public_key) == ("Kiosk Süd", key.public_key.raw)
    assert content.is_valid_at(NOW_MS // 1000)
    assert content.not_after_s == (NOW_MS + 365 * DAY_MS) // 1000


def test_a_terminal_certificate_lies_within_its_cas_life(ca: FleetCa) -> None:
    identity = TerminalIdentity(TERMINAL, MerchantId(bytes(8)), SiteId(bytes(8)), "Kiosk")
    key = Ed25519SigningKey.generate().public_key
    late_ms = ends_ms(ca.certificate) - DAY_MS
    content = authority.issue_terminal_certificate(ca, identity, key, now_ms=late_ms).content
    assert content.not_after_s * 1000 == ends_ms(ca.certificate)
    assert content.not_before_s == (late_ms - BACKDATED_MS) // 1000
    early_ms = begins_ms(ca.certificate) + BACKDATED_MS // 2
    content = authority.issue_terminal_certificate(ca, identity, key, now_ms=early_ms).content
    assert content.not_before_s * 1000 == begins_ms(ca.certificate)


# Signing requests


def request_of(key: CertificateIssuerPrivateKeyTypes) -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, algorithm).public_bytes(serialization.Encoding.DER)


def test_takes_the_key_of_a_proven_p256_request() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    assert authority.read_link_request(link_request(key)) == key.public_key()


def foreign_signature() -> bytes:
    """A request whose signature was made by another key: the two have one length, so they change places."""
    while True:
        one, other = (request_of(ec.generate_private_key(ec.SECP256R1())) for _ in range(2))
        if len(one) == len(other):
            size = len(x509.load_der_x509_csr(one).tbs_certrequest_bytes)
            start = one.index(x509.load_der_x509_csr(one).tbs_certrequest_bytes)
            return one[: start + size] + other[start + size :]


@pytest.mark.parametrize(
    ("make", "refusal"),
    [
        (lambda: b"", EnrolmentRefusal.LINK_REQUEST_UNUSABLE),
        (lambda: b"\x30\x03\x02\x01\x00", EnrolmentRefusal.LINK_REQUEST_UNUSABLE),
        (lambda: link_request(ec.generate_private_key(ec.SECP256R1()))[:-1], EnrolmentRefusal.LINK_REQUEST_UNUSABLE),
        (lambda: link_request(ec.generate_private_key(ec.SECP256R1())) + b"\0", EnrolmentRefusal.LINK_REQUEST_UNUSABLE),
        (foreign_signature, EnrolmentRefusal.LINK_REQUEST_UNUSABLE),
        (lambda: request_of(rsa.generate_private_key(65537, 2048)), EnrolmentRefusal.LINK_KEY_NOT_P256),
        (lambda: request_of(ec.generate_private_key(ec.SECP384R1())), EnrolmentRefusal.LINK_KEY_NOT_P256),
        (lambda: request_of(ec.generate_private_key(ec.SECP256K1())), EnrolmentRefusal.LINK_KEY_NOT_P256),
        (lambda: request_of(ed25519.Ed25519PrivateKey.generate()), EnrolmentRefusal.LINK_KEY_NOT_P256),
    ],
)
def test_refuses_every_other_signing_request(make: Callable[[], bytes], refusal: EnrolmentRefusal) -> None:
    assert authority.read_link_request(make()) == refusal


# Enrolment requests, before any code is looked at


def test_takes_a_request_that_proves_both_keys() -> None:
    box = NewBox(hardware_serial=" board-1 ")
    proven = read_request(box.request(CODE))
    assert isinstance(proven, ProvenRequest)
    assert proven.signing_key == box.signing_key.public_key
    assert proven.link_key == box.link_key.public_key()
    assert proven.hardware_serial == "board-1"


def signed_by_another_key() -> bytes:
    """The content names the first key, the signature is the second's."""
    content = NewBox().content(CODE)
    signed = sign(Ed25519SigningKey.generate(), SignedType.ENROLMENT_REQUEST, ENROLMENT_REQUEST.layout.encode(content))
    return signed.encode()


def signed_as_another_type() -> bytes:
    box = NewBox()
    payload = ENROLMENT_REQUEST.layout.encode(box.content(CODE))
    return sign(box.signing_key, SignedType.HELLO, payload).encode()


def with_a_foreign_key_id() -> bytes:
    box = NewBox()
    content = replace(box.content(CODE), key_id=Ed25519SigningKey.generate().public_key.key_id)
    payload = ENROLMENT_REQUEST.layout.encode(content)
    return sign(box.signing_key, SignedType.ENROLMENT_REQUEST, payload).encode()


def with_a_small_order_key() -> bytes:
    # Under this point one fixed signature holds for every message.
    content = replace(NewBox().content(CODE), public_key=b"\1" + bytes(31))
    return Signed(ENROLMENT_REQUEST.layout.encode(content), b"\1" + bytes(63)).encode()


def with_a_blank_board() -> bytes:
    return NewBox(hardware_serial="  ").request(CODE)


@pytest.mark.parametrize(
    ("make", "refusal"),
    [
        (lambda: b"", EnrolmentRefusal.UNREADABLE_REQUEST),
        (lambda: NewBox().request(CODE) + b"\0", EnrolmentRefusal.UNREADABLE_REQUEST),
        (lambda: bytes(ENROLMENT_REQUEST.size_max + 1), EnrolmentRefusal.UNREADABLE_REQUEST),
        (with_a_blank_board, EnrolmentRefusal.UNREADABLE_REQUEST),
        (with_a_small_order_key, EnrolmentRefusal.SIGNING_KEY_UNUSABLE),
        (signed_by_another_key, EnrolmentRefusal.SIGNING_KEY_NOT_PROVEN),
        (signed_as_another_type, EnrolmentRefusal.SIGNING_KEY_NOT_PROVEN),
        (with_a_foreign_key_id, EnrolmentRefusal.SIGNING_KEY_NOT_PROVEN),
        (lambda: NewBox().request(CODE, link=b""), EnrolmentRefusal.LINK_REQUEST_UNUSABLE),
        (
            lambda: NewBox().request(CODE, link=request_of(ec.generate_private_key(ec.SECP384R1()))),
            EnrolmentRefusal.LINK_KEY_NOT_P256,
        ),
    ],
)
def test_refuses_every_request_that_proves_nothing(make: Callable[[], bytes], refusal: EnrolmentRefusal) -> None:
    assert read_request(make()) == refusal
