"""Writes what we sign as COSE_Sign1 and COSE_Key (RFC 9052), so that any COSE tool can verify it. Pure.

Our messages leave out the headers that follow from the type; here they are put back, byte by byte::

    d2                       tag 18, COSE_Sign1
    84                       array of four
       43 a1 01 27           protected: bstr of {1: -8} (EdDSA), or {1: -7} (ES256, 26 instead of 27)
       a1 04 44 KKKKKKKK     unprotected: {4: key id}
       bstr                  payload, as it was signed
       58 40 SIGNATURE       64 bytes; ES256 as r and s

The ``external_aad`` is the signed type's name and stands beside it, because COSE does not carry it.
"""

from cryptography.hazmat.primitives.asymmetric import ec

from sync import cbor
from sync.envelope import Signed
from sync.keys import COSE_EDDSA, PublicKey

_TAGGED_ARRAY = b"\xd2\x84"
_PROTECTED = {True: b"\xa1\x01\x27", False: b"\xa1\x01\x26"}
_COORDINATE_SIZE = 32


def cose_sign1(signed: Signed, key: PublicKey) -> bytes:
    """Return the tagged COSE_Sign1 of ``signed`` under ``key``, whether its signature holds or not."""
    protected = _PROTECTED[key.cose_algorithm == COSE_EDDSA]
    unprotected = b"\xa1\x04" + cbor.encode(bytes(key.key_id))
    parts = (cbor.encode(protected), unprotected, cbor.encode(signed.payload), cbor.encode(signed.signature))
    return _TAGGED_ARRAY + b"".join(parts)


def cose_key(key: PublicKey) -> bytes:
    """Return the public key as COSE_Key (RFC 9053 §7): OKP with Ed25519, or EC2 with P-256 and both coordinates."""
    kid = b"\x02" + cbor.encode(bytes(key.key_id))
    if key.cose_algorithm == COSE_EDDSA:
        return b"\xa5\x01\x01" + kid + b"\x03\x27" + b"\x20\x06" + b"\x21" + cbor.encode(key.raw)
    point = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), key.raw).public_numbers()
    x, y = (cbor.encode(each.to_bytes(_COORDINATE_SIZE, "big")) for each in (point.x, point.y))
    return b"\xa6\x01\x02" + kid + b"\x03\x26" + b"\x20\x01" + b"\x21" + x + b"\x22" + y
