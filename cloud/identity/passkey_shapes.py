"""What pages and the cloud say to each other about passkeys.

What the cloud asks is spelled as the W3C spells it in JSON, so that a page hands it to
``PublicKeyCredential.parseCreationOptionsFromJSON`` or ``parseRequestOptionsFromJSON`` as it is. What a page answers
is only those of the browser's fields that count, each in base64url without padding.
"""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, Field
from webauthn.helpers import base64url_to_bytes, bytes_to_base64url

from cloud.identity.api import StrictBody
from cloud.identity.passkey_service import Asked
from cloud.identity.passkeys import ALGORITHMS, CHALLENGE_MS, Assertion, Attestation, RelyingParty
from cloud.permissions import SignedIn

RELYING_PARTY_NAME = "Tillbox"
_BASE64URL = "^([A-Za-z0-9_-]{4})*([A-Za-z0-9_-]{2,3})?$"
Bytes = Annotated[str, Field(min_length=2, max_length=4096, pattern=_BASE64URL)]
MoreBytes = Annotated[str, Field(min_length=2, max_length=16_384, pattern=_BASE64URL)]


class SignedByPasskey(StrictBody):
    """A passkey's yes: fields of the browser's ``AuthenticatorAssertionResponse`` and its credential's id."""

    credential_id: Bytes
    client_data: Bytes
    authenticator_data: Bytes
    signature: Bytes
    user_handle: Bytes | None = None

    def read(self) -> Assertion:
        """Return what was signed."""
        return Assertion(
            credential_id=base64url_to_bytes(self.credential_id),
            client_data=base64url_to_bytes(self.client_data),
            authenticator_data=base64url_to_bytes(self.authenticator_data),
            signature=base64url_to_bytes(self.signature),
            user_handle=None if self.user_handle is None else base64url_to_bytes(self.user_handle),
        )


class MadePasskey(StrictBody):
    """A new passkey: fields of the browser's ``AuthenticatorAttestationResponse``, and a name to know it by."""

    name: str = Field(min_length=1, max_length=64)
    client_data: Bytes
    attestation_object: MoreBytes

    def read(self) -> Attestation:
        """Return what was made."""
        return Attestation(base64url_to_bytes(self.client_data), base64url_to_bytes(self.attestation_object))


class PasskeyDomain(BaseModel):
    """For whom a passkey is made."""

    id: str
    name: str


class PasskeyOwner(BaseModel):
    """Whose it is; ``displayName`` is what the phone shows."""

    id: str
    name: str
    displayName: str  # noqa: N815 - the W3C's spelling, as all below.


class PasskeyAlgorithm(BaseModel):
    """A kind of key that is taken, by its COSE number."""

    type: Literal["public-key"] = "public-key"
    alg: int


class KnownPasskey(BaseModel):
    """A credential by its id."""

    type: Literal["public-key"] = "public-key"
    id: str


class PasskeySelection(BaseModel):
    """What the phone or key must be able to do: keep the passkey itself, and verify its owner."""

    residentKey: Literal["required"] = "required"  # noqa: N815
    requireResidentKey: Literal[True] = True  # noqa: N815
    userVerification: Literal["required"] = "required"  # noqa: N815


class CreationOptions(BaseModel):
    """What ``navigator.credentials.create`` is to make."""

    rp: PasskeyDomain
    user: PasskeyOwner
    challenge: str
    pubKeyCredParams: list[PasskeyAlgorithm]  # noqa: N815
    timeout: int
    excludeCredentials: list[KnownPasskey]  # noqa: N815
    authenticatorSelection: PasskeySelection  # noqa: N815
    attestation: Literal["none"] = "none"


class RequestOptions(BaseModel):
    """What ``navigator.credentials.get`` is to sign."""

    challenge: str
    timeout: int
    rpId: str  # noqa: N815
    allowCredentials: list[KnownPasskey]  # noqa: N815
    userVerification: Literal["required"] = "required"  # noqa: N815


def creation_options(party: RelyingParty, person: SignedIn, asked: Asked) -> CreationOptions:
    """Ask for a new passkey beside those that are known."""
    owner = bytes_to_base64url(person.login_id.encode())
    return CreationOptions(
        rp=PasskeyDomain(id=party.domain, name=RELYING_PARTY_NAME),
        user=PasskeyOwner(id=owner, name=person.email, displayName=person.email),
        challenge=bytes_to_base64url(asked.challenge),
        pubKeyCredParams=[PasskeyAlgorithm(alg=each.value) for each in ALGORITHMS],
        timeout=CHALLENGE_MS,
        excludeCredentials=_known(asked.credential_ids),
        authenticatorSelection=PasskeySelection(),
    )


def request_options(party: RelyingParty, challenge: bytes, credential_ids: Sequence[bytes] = ()) -> RequestOptions:
    """Ask one of these passkeys to sign; where none is named, any that the phone has for us."""
    return RequestOptions(
        challenge=bytes_to_base64url(challenge),
        timeout=CHALLENGE_MS,
        rpId=party.domain,
        allowCredentials=_known(credential_ids),
    )


def _known(credential_ids: Sequence[bytes]) -> list[KnownPasskey]:
    return [KnownPasskey(id=bytes_to_base64url(each)) for each in credential_ids]
