"""What a box believes of an acknowledgement: how far the cloud holds its chain, and whether the chain is its own.

The conclusions that stop a box from approving are drawn here, in one place (protocol §3).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto

from sync.acknowledgement import Acknowledgement, AckStatus, ChainState
from sync.upload import AcknowledgementReceived, Effect, IgnoredReason, MarkAcknowledged, Quarantine, QuarantineReason
from sync.upload_state import OwnChain, Sent, grown


class Standing(Enum):
    """What an acknowledgement says of our chain."""

    HELD = auto()
    """The cloud holds it up to the acknowledged number."""
    DIVERGED = auto()
    """The record it names is not ours, or cannot be told to be."""
    UNKNOWN_EPOCH = auto()


def recognise(chain: OwnChain, outstanding: Sequence[Sent], ack: Acknowledgement) -> Sent | IgnoredReason:
    """Return what ``ack`` answers, or why it is not believed."""
    if (ack.terminal_id, ack.epoch) != (chain.terminal_id, chain.epoch):
        return IgnoredReason.FOREIGN_CHAIN
    return next((sent for sent in outstanding if sent.nonce == ack.nonce), IgnoredReason.UNKNOWN_NONCE)


@dataclass(frozen=True, slots=True)
class Belief:
    """The conclusion. ``number``: so far the cloud holds our chain; ``effects``: those on the outbox and the box."""

    chain: OwnChain
    standing: Standing
    effects: tuple[Effect, ...]
    number: int = 0


def believe(chain: OwnChain, event: AcknowledgementReceived, *, sent_last: int) -> Belief:
    """Conclude from an acknowledgement of one of our own nonces; ``sent_last`` is the last number it answers, or 0."""
    ack, own_hash = event.acknowledgement, event.own_hash
    if ack.status is AckStatus.UNKNOWN_EPOCH:
        chain, effects = _quarantined(chain, QuarantineReason.UNKNOWN_EPOCH)
        return Belief(chain, Standing.UNKNOWN_EPOCH, effects)
    reason = _proof_against(chain, event)
    if reason is not None:
        chain, effects = _quarantined(chain, reason)
        return Belief(chain, Standing.DIVERGED, effects)
    if event.own_hash is None and chain.chain_state is not ChainState.SOUND:
        # The record is gone here, and the cloud knows of another line under our name: it may well be of that one.
        return Belief(chain, Standing.DIVERGED, ())
    chain, effects = _quarantined(chain, _verdict_of_cloud(ack.status))
    if ack.number <= chain.acknowledged_number:
        return Belief(chain, Standing.HELD, effects, ack.number)
    if own_hash is not None:
        effects = (*effects, MarkAcknowledged(ack.number, own_hash, ack.cloud_time_ms))
        chain = grown(chain, ack.number, own_hash)
        chain = replace(chain, acknowledged_number=ack.number, acknowledged_hash=own_hash)
    # We cannot tell whether the record named is ours: it acknowledges nothing, and is believed of what it answers only.
    return Belief(chain, Standing.HELD, effects, min(ack.number, max(chain.acknowledged_number, sent_last)))


def _proof_against(chain: OwnChain, event: AcknowledgementReceived) -> QuarantineReason | None:
    """Return what the named record proves. A record of ours that we cannot look up any more proves nothing."""
    ack = event.acknowledgement
    if event.own_hash is None:
        return QuarantineReason.ROLLED_BACK if ack.number > chain.head_number else None
    return QuarantineReason.FORKED if event.own_hash != ack.head_hash else None


def _verdict_of_cloud(status: AckStatus) -> QuarantineReason | None:
    match status:
        case AckStatus.FORKED:
            return QuarantineReason.FORKED
        case AckStatus.ROLLED_BACK:
            return QuarantineReason.ROLLED_BACK
        case AckStatus.UNKNOWN_EPOCH:
            return QuarantineReason.UNKNOWN_EPOCH
        case AckStatus.OK | AckStatus.GAP:
            return None


def _quarantined(chain: OwnChain, reason: QuarantineReason | None) -> tuple[OwnChain, tuple[Effect, ...]]:
    # The first reason stays, but proof against the card outweighs that the cloud does not know the epoch.
    if reason is None or reason is chain.quarantine or chain.quarantine not in (None, QuarantineReason.UNKNOWN_EPOCH):
        return chain, ()
    return replace(chain, quarantine=reason), (Quarantine(reason),)
