"""What a passkey has to show (WebAuthn, W3C Level 2): made for us, its owner verified, our challenge signed.

``webauthn`` (py_webauthn) takes the messages apart and verifies the signatures. What makes of that a yes stands here:
which pages may ask, that the person was verified by the phone or key itself, and that a counter only goes up. We ask
for no attestation: which model of key somebody has is none of our business, so nothing but an empty statement or one
signed by the new key itself is taken, and no certificate of any manufacturer is ever parsed.
"""

import hashlib
import json
import unicodedata
from dataclasses import dataclass

from cryptography.exceptions import UnsupportedAlgorithm
from webauthn import verify_authentication_response, verify_registration_response
from webauthn.helpers import (
    base64url_to_bytes,
    bytes_to_base64url,
    decode_credential_public_key,
    decoded_public_key_to_cryptography,
    parse_attestation_object,
)
from webauthn.helpers.cose import COSEAlgorithmIdentifier
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AttestationFormat,
    AuthenticationCredential,
    AuthenticatorAssertionResponse,
    AuthenticatorAttestationResponse,
    RegistrationCredential,
)

ALGORITHMS = (
    COSEAlgorithmIdentifier.ECDSA_SHA_256,
    COSEAlgorithmIdentifier.EDDSA,
    COSEAlgorithmIdentifier.RSASSA_PKCS1_v1_5_SHA_256,
)
"""ES256, which all phones and keys have, Ed25519, and RS256, which older Windows machines have alone."""
NONCE_SIZE = 32
CHALLENGE_MS = 5 * 60 * 1000
"""How long somebody may take over a ceremony (W3C recommends 5 to 10 minutes where a person is verified)."""
CREDENTIAL_ID_SIZE_MAX = 1023
PUBLIC_KEY_SIZE_MAX = 1024
NAME_LENGTH_MAX = 64

# What taking apart a stranger's bytes may raise; the library's own parsers let the last four through.
_UNREADABLE = (WebAuthnException, UnsupportedAlgorithm, ValueError, TypeError, LookupError, AttributeError)


@dataclass(frozen=True, slots=True)
class RelyingParty:
    """Whom passkeys are made for: a domain, and the origins of the pages that may ask for them."""

    domain: str
    origins: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Attestation:
    """What a phone or key answers when it has made a passkey."""

    client_data: bytes
    attestation_object: bytes


@dataclass(frozen=True, slots=True)
class Assertion:
    """What a phone or key answers when it has signed a challenge."""

    credential_id: bytes
    client_data: bytes
    authenticator_data: bytes
    signature: bytes
    user_handle: bytes | None = None


@dataclass(frozen=True, slots=True)
class NewKey:
    """A passkey as it was made; ``public_key`` is COSE."""

    credential_id: bytes
    public_key: bytes
    sign_count: int


def challenge_of(client_data: bytes) -> bytes | None:
    """Return the challenge that was signed, as the browser says; None where that cannot be read."""
    try:
        challenge = json.loads(client_data)["challenge"]
        return base64url_to_bytes(challenge) if isinstance(challenge, str) else None
    except (ValueError, TypeError, LookupError, RecursionError):
        return None


def challenge_hash(challenge: bytes) -> bytes:
    """Return what a challenge is kept under."""
    return hashlib.sha256(challenge).digest()


def verify_attestation(party: RelyingParty, said: Attestation, *, challenge: bytes) -> NewKey | None:
    """Return the new passkey, None where anything about it is not as asked for."""
    try:
        made = parse_attestation_object(said.attestation_object)
        is_own_word = made.fmt == AttestationFormat.NONE or (
            made.fmt == AttestationFormat.PACKED and made.att_stmt.x5c is None
        )
        if not is_own_word or made.auth_data.attested_credential_data is None:
            return None
        credential_id = made.auth_data.attested_credential_data.credential_id
        verified = verify_registration_response(
            credential=RegistrationCredential(
                id=bytes_to_base64url(credential_id),
                raw_id=credential_id,
                response=AuthenticatorAttestationResponse(said.client_data, said.attestation_object),
            ),
            expected_challenge=challenge,
            expected_rp_id=party.domain,
            expected_origin=list(party.origins),
            require_user_verification=True,
            supported_pub_key_algs=list(ALGORITHMS),
        )
        # A point beside the curve would be found out at the first use only.
        decoded_public_key_to_cryptography(decode_credential_public_key(verified.credential_public_key))
    except _UNREADABLE:
        return None
    is_small = len(credential_id) <= CREDENTIAL_ID_SIZE_MAX
    if not is_small or len(verified.credential_public_key) > PUBLIC_KEY_SIZE_MAX:
        return None
    return NewKey(credential_id, verified.credential_public_key, verified.sign_count)


def verify_assertion(party: RelyingParty, said: Assertion, *, challenge: bytes, public_key: bytes) -> int | None:
    """Return the counter that was signed, None where the signature or anything that it covers is not as asked for.

    The counter is not compared here: only a counter whose signature is right says anything about a copy.
    """
    try:
        verified = verify_authentication_response(
            credential=AuthenticationCredential(
                id=bytes_to_base64url(said.credential_id),
                raw_id=said.credential_id,
                response=AuthenticatorAssertionResponse(said.client_data, said.authenticator_data, said.signature),
            ),
            expected_challenge=challenge,
            expected_rp_id=party.domain,
            expected_origin=list(party.origins),
            credential_public_key=public_key,
            credential_current_sign_count=0,
            require_user_verification=True,
        )
    except _UNREADABLE:
        return None
    return verified.new_sign_count


def is_counted_up(sign_count: int, *, before: int) -> bool:
    """Tell whether a counter has gone up; passkeys that are synchronised between phones have none, and say 0."""
    return sign_count > before or sign_count == before == 0


def spell_name(text: str) -> str | None:
    """Return the name that a person gives a passkey, as stored; None where it is empty, long or hides something."""
    spelled = unicodedata.normalize("NFC", text).strip()
    is_hiding = any(unicodedata.category(each)[0] == "C" or unicodedata.category(each) in ("Zl", "Zp") for each in text)
    return None if is_hiding or not 0 < len(spelled) <= NAME_LENGTH_MAX else spelled
