"""Remembers which grants were found genuine: each comes with every sale of its payer, and checking costs most of all.

Only that a signature *held* is remembered, for these very bytes under this very key. That can never become untrue,
so the memory needs no invalidation and may be lost at any time; whether a grant is still good, denied or spent is
asked of the database each time. A refusal is not remembered, so that garbage cannot push out what is good.
"""

import hashlib
from threading import Lock

from sync.envelope import SignedType, verify_payload
from sync.keys import PublicKey
from sync.refusals import Refusal

GRANTS_MAX = 50_000
"""Grants remembered, some 15 MB; the one not met for longest is forgotten first."""


class VerifiedGrants:
    """A process's memory of genuine grants; several threads may ask at once."""

    def __init__(self, *, grants_max: int = GRANTS_MAX) -> None:
        self._grants_max = grants_max
        self._known: dict[bytes, None] = {}
        self._lock = Lock()

    def check(self, key: PublicKey, signed_type: SignedType, *, payload: bytes, signature: bytes) -> Refusal | None:
        """Check a signature as ``verify_payload`` does; that of a known grant is known to hold."""
        if signed_type is not SignedType.GRANT:
            return verify_payload(key, signed_type, payload=payload, signature=signature)
        # The hash stands first because it is of a fixed length: the three cannot be told apart in another way.
        grant = hashlib.sha256(payload).digest() + signature + key.raw
        with self._lock:
            if grant in self._known:
                self._known[grant] = self._known.pop(grant)
                return None
        refusal = verify_payload(key, signed_type, payload=payload, signature=signature)
        if refusal is None:
            with self._lock:
                self._known[grant] = None
                if len(self._known) > self._grants_max:
                    del self._known[next(iter(self._known))]
        return refusal
