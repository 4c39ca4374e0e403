"""What the box trusts: the pinned root, its own certificate, and the newest snapshot and policy it was sent.

Everything is verified from the root down each time it is loaded, since the card may have been changed. A newer
version is on the card before it counts, and never one older than the one held.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from edge.errors import NotProvisionedError, TrustBrokenError
from sync.acknowledgement import ACKNOWLEDGEMENT, Acknowledgement
from sync.approval import APPROVAL, Approval
from sync.certificate import TERMINAL_CERTIFICATE, TerminalCertificate
from sync.enrolment import ENROLMENT_ANSWER, EnrolmentAnswer
from sync.ids import KeyId, Serial
from sync.keys import PublicKey, parse_public_key
from sync.message import Message
from sync.online import ONLINE_ANSWER, OnlineAnswer
from sync.policy import Policy, open_policy
from sync.refusals import Refusal
from sync.roles import RoleUse
from sync.trust_snapshot import TRUST_DELTA, HeldTrust, open_delta, open_snapshot

_ANSWER, _SNAPSHOT, _POLICY = "enrolment.cbor", "snapshot.cbor", "policy.cbor"
_DELTA = "delta.cbor"
# A held snapshot or policy that has expired still loads: the decision refuses by its end, not by its absence.
_NEVER_EXPIRED_MS = 0


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the box is, from its verified enrolment."""

    certificate: Message[TerminalCertificate]
    answer: EnrolmentAnswer

    @property
    def terminal(self) -> TerminalCertificate:
        return self.certificate.content


class Trust:
    """The verified trust of one box; ``load`` makes it, the downlink renews it.

    ``full`` is the newest full snapshot, ``held`` what counts: it, or it with the newest delta applied. Every delta is
    made for a full snapshot, so that the newest one alone is kept.
    """

    def __init__(
        self,
        folder: Path,
        *,
        root: PublicKey,
        identity: Identity,
        full: HeldTrust,
        held: HeldTrust,
        policy: Policy,
    ) -> None:
        self._folder = folder
        self._root = root
        self._full = full
        self.identity = identity
        self.held = held
        self.policy = policy

    @classmethod
    def load(cls, folder: Path, root: PublicKey) -> "Trust":
        """Load and verify; raises ``NotProvisionedError`` (a file is missing) or ``TrustBrokenError`` (not genuine)."""
        answer_bytes, snapshot, policy = (_read(folder / name) for name in (_ANSWER, _SNAPSHOT, _POLICY))
        full = open_snapshot(snapshot, root, held_version=0, now_ms=_NEVER_EXPIRED_MS)
        if isinstance(full, Refusal):
            raise TrustBrokenError(f"The trust list on the card is not genuine ({full}).")
        held = _with_delta(folder / _DELTA, full)
        identity = open_identity(answer_bytes, held)
        if isinstance(identity, Refusal):
            raise TrustBrokenError(f"The enrolment on the card is not genuine ({identity}).")
        opened = open_policy(policy, held.issuers, held_version=0, now_ms=_NEVER_EXPIRED_MS)
        if isinstance(opened, Refusal):
            raise TrustBrokenError(f"The limits on the card are not genuine ({opened}).")
        return cls(folder, root=root, identity=identity, full=full, held=held, policy=opened)

    def find_grant_issuer(self, key_id: KeyId, at_ms: int) -> PublicKey | Refusal:
        """Return the grant key that was valid ``at_ms``."""
        return self.held.issuers.find(RoleUse.GRANT, key_id, at_ms=at_ms)

    def is_denied(self, serial: Serial) -> bool:
        return serial in self.held.denied

    def open_acknowledgement(self, encoded: bytes) -> Acknowledgement | Refusal:
        """Verify an acknowledgement for this terminal; its nonce and epoch are the uploader's to check."""
        message = ACKNOWLEDGEMENT.open(
            encoded,
            lambda ack: self.held.issuers.find(RoleUse.ACKNOWLEDGEMENT, ack.key_id, at_ms=ack.cloud_time_ms),
        )
        if isinstance(message, Refusal):
            return message
        is_ours = message.content.terminal_id == self.identity.terminal.terminal_id
        return message.content if is_ours else Refusal.WRONG_TERMINAL

    def open_answer(self, encoded: bytes) -> Message[OnlineAnswer] | Refusal:
        """Verify an online answer for this terminal; which question it answers is the asker's to check."""
        message = ONLINE_ANSWER.open(encoded, lambda answer: self._approval_key(answer.key_id, answer.expires_ms))
        if isinstance(message, Refusal):
            return message
        return message if message.content.terminal_id == self.identity.terminal.terminal_id else Refusal.WRONG_TERMINAL

    def verify_approval(self, approval: Message[Approval]) -> Refusal | None:
        """Check the cloud's signature under an approval that a customer carried; what it answers is checked besides."""
        key = self._approval_key(approval.content.key_id, approval.content.expires_s * 1000)
        return key if isinstance(key, Refusal) else APPROVAL.verify(approval, key)

    def _approval_key(self, key_id: KeyId, expires_ms: int) -> PublicKey | Refusal:
        """Return the approval key that was valid to the end of what it signed: neither type tells when it was made."""
        return self.held.issuers.find(RoleUse.APPROVAL, key_id, at_ms=expires_ms - 1)

    def take_snapshot(self, encoded: bytes, *, now_ms: int) -> Refusal | None:
        """Verify and keep a full snapshot; the same version again is no fault and changes nothing."""
        newer = open_snapshot(encoded, self._root, held_version=self.held.version, now_ms=now_ms)
        if isinstance(newer, Refusal):
            return newer
        if (newer.version, newer.issued_ms) != (self.held.version, self.held.issued_ms):
            write_durably(self._folder / _SNAPSHOT, encoded)
            (self._folder / _DELTA).unlink(missing_ok=True)
            self._full = self.held = newer
        return None

    def take_delta(self, encoded: bytes, *, now_ms: int) -> Refusal | None:
        """Verify and apply a delta to the full snapshot held; it replaces the delta before it."""
        newer = open_delta(encoded, self._full, now_ms=now_ms)
        if isinstance(newer, Refusal):
            return newer
        if newer.version < self.held.version:
            return Refusal.OLDER_THAN_HELD
        write_durably(self._folder / _DELTA, encoded)
        self.held = newer
        return None

    def take_policy(self, encoded: bytes, *, now_ms: int) -> Refusal | None:
        """Verify and keep a policy."""
        newer = open_policy(encoded, self.held.issuers, held_version=self.policy.version, now_ms=now_ms)
        if isinstance(newer, Refusal):
            return newer
        if newer != self.policy:
            write_durably(self._folder / _POLICY, encoded)
            self.policy = newer
        return None


def open_identity(encoded_answer: bytes, held: HeldTrust) -> Identity | Refusal:
    """Verify an enrolment answer and the terminal certificate inside under the fleet CA's role key."""
    message = ENROLMENT_ANSWER.read(encoded_answer)
    if isinstance(message, Refusal):
        return message
    certificate = TERMINAL_CERTIFICATE.read(message.content.certificate)
    if isinstance(certificate, Refusal):
        return certificate
    fleet_ca = held.issuers.find_for_life(
        RoleUse.FLEET_CA,
        message.content.key_id,
        issued_ms=certificate.content.not_before_s * 1000,
        expires_ms=certificate.content.not_after_s * 1000,
    )
    if isinstance(fleet_ca, Refusal):
        return fleet_ca
    refusal = ENROLMENT_ANSWER.verify(message, fleet_ca) or TERMINAL_CERTIFICATE.verify(certificate, fleet_ca)
    return refusal or Identity(certificate, message.content)


def save_enrolment(folder: Path, answer: Message[EnrolmentAnswer]) -> None:
    """Store what enrolment gave; the enrolment itself comes last, so that a half-written set-up does not load."""
    folder.mkdir(parents=True, exist_ok=True)
    write_durably(folder / _SNAPSHOT, answer.content.snapshot)
    write_durably(folder / _POLICY, answer.content.policy)
    write_durably(folder / _ANSWER, answer.encode())


def load_root(path: Path) -> PublicKey:
    """Read the pinned root's public key, hexadecimal in a text file."""
    try:
        raw = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except FileNotFoundError as error:
        raise NotProvisionedError("The pinned root key is missing.") from error
    except ValueError as error:
        raise TrustBrokenError("The pinned root key is not a hexadecimal key.") from error
    key = parse_public_key(raw)
    if isinstance(key, Refusal):
        raise TrustBrokenError(f"The pinned root key cannot be used ({key}).")
    return key


def write_durably(path: Path, content: bytes) -> None:
    """Replace ``path`` so that a power cut leaves either the old content or the new."""
    draft = path.with_suffix(path.suffix + ".new")
    with draft.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _with_delta(path: Path, full: HeldTrust) -> HeldTrust:
    """Apply the delta kept at ``path``; one made for an earlier list is what a power cut left behind, and ignored."""
    if not path.exists():
        return full
    encoded = path.read_bytes()
    message = TRUST_DELTA.read(encoded)
    if not isinstance(message, Refusal) and message.content.base_version != full.version:
        return full
    newer = open_delta(encoded, full, now_ms=_NEVER_EXPIRED_MS)
    if isinstance(newer, Refusal):
        raise TrustBrokenError(f"The newer list of blocked payers on the card is not genuine ({newer}).")
    return newer


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise NotProvisionedError("This box has not been enrolled, or a file of its enrolment is missing.") from error
