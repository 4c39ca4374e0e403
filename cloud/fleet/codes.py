"""Enrolment codes: ten characters that a person types at a new box, and how they are kept.

The first four characters find the code, the last six are its secret: only so can wrong tries be counted against a
code (protocol §9: five tries). The secret has 29 bits; with five tries guessing one is hopeless, and the slow hash is
for the case that the table is copied. Who is refused never learns which part was wrong.
"""

import hashlib
import hmac

from sync.enrolment import ENROLMENT_CODE_SIZE
from sync.ids import RandomBytes

ALPHABET = "23456789ABCDEFGHJKMNPQRSTVWXYZ"
"""30 characters: without 0 and O, 1 and I and L, and U, which is taken for V."""
SELECTOR_SIZE = 4
TRIES_MAX = 5
VALIDITY_MS = 24 * 3600 * 1000
SALT_SIZE = 16
HASH_SIZE = 32
# A byte below this bound taken modulo 30 favours no character.
_FAIR_BYTE_END = 256 - 256 % len(ALPHABET)
# scrypt (RFC 7914) with 16 MiB: some 40 ms a try, and five tries a code, so nobody can burn the server with it.
_SCRYPT_N, _SCRYPT_R, _SCRYPT_P = 2**14, 8, 1


def make_code(random_bytes: RandomBytes) -> str:
    """Make a code of ten characters, each equally likely."""
    characters = ""
    while len(characters) < ENROLMENT_CODE_SIZE:
        characters += "".join(ALPHABET[byte % 30] for byte in random_bytes(16) if byte < _FAIR_BYTE_END)
    return characters[:ENROLMENT_CODE_SIZE]


def normalise(code: str) -> str:
    """Return the code as it was made: capitals, without the spaces and hyphens that people type between."""
    return code.replace("-", "").replace(" ", "").upper()


def selector_of(code: str) -> str:
    """Return the part that finds the code; it is no secret."""
    return code[:SELECTOR_SIZE]


def hash_code(code: str, salt: bytes) -> bytes:
    """Return the slow salted hash under which a code is kept, 32 bytes."""
    return hashlib.scrypt(code.encode(), salt=salt, n=_SCRYPT_N, r=_SCRYPT_R, p=_SCRYPT_P, dklen=HASH_SIZE)


def is_code(code: str, *, salt: bytes, expected: bytes) -> bool:
    """Compare a typed code with the kept hash, in a time that does not depend on where they differ."""
    return hmac.compare_digest(hash_code(code, salt), expected)
