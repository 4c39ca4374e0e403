"""The cloud's end of the sync engine without I/O: what becomes of a batch, and what the acknowledgement says.

Every record gets a verdict of its own, so that a bad one never holds up those behind it. Whatever is not set aside
is to be stored and posted, floating and forked records too (protocol §3); only after that commit may the answer be
signed and sent. Judging is two steps: ``judge_record`` for each record's bytes, ``receive`` for the chain.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from sync.acknowledgement import AckStatus, ChainState, Hello
from sync.chain import FLOATING_MAX, MAIN_BRANCH, Branch, ChainView, Held, LostRange, held_from
from sync.chain_tree import ChainTree
from sync.ids import TerminalId
from sync.keys import PublicKey
from sync.message import Message
from sync.record import GENESIS_HASH, RECORD, Record
from sync.refusals import Refusal


@dataclass(frozen=True, slots=True)
class Poison:
    """A record that cannot be taken as this terminal's; ``hash`` is SHA-256 of its bytes, under which it is kept."""

    reason: Refusal
    hash: bytes


def judge_record(
    encoded: bytes, *, terminal_id: TerminalId, find_terminal_key: Callable[[Record], PublicKey | Refusal]
) -> Message[Record] | Poison:
    """Read one record of a batch that came on ``terminal_id``'s topic and verify its signature.

    ``find_terminal_key`` returns the key that terminal had in the record's epoch. Reasons: every refusal of reading,
    ``wrong_terminal``, whatever ``find_terminal_key`` refuses with, and those of the signature.
    """
    message = RECORD.read(encoded)
    if isinstance(message, Refusal):
        return Poison(message, hashlib.sha256(encoded).digest())
    refusal = _refuse(message, terminal_id, find_terminal_key)
    return message if refusal is None else Poison(refusal, hashlib.sha256(encoded).digest())


class Verdict(StrEnum):
    """What became of one record."""

    ACCEPTED = "accepted"
    """It extends a branch."""
    DUPLICATE = "duplicate"
    """It is held already."""
    FLOATING = "floating"
    """Records before it are missing: it is kept and posted, and not acknowledged yet."""
    FORKED = "forked"
    """It begins a second branch: two signed records bear its number. Posted all the same."""
    RECOVERED_LATER = "recovered_later"
    """Its number had been closed as lost. Posted; nobody's fault."""
    SET_ASIDE = "set_aside"
    """It is not taken, for the named reason; the raw bytes stay as evidence."""


class SetAside(StrEnum):
    """Why a well-signed record is not taken."""

    FOREIGN_CHAIN = "foreign_chain"
    TOO_MANY_FLOATING = "too_many_floating"
    TOO_MANY_BRANCHES = "too_many_branches"


@dataclass(frozen=True, slots=True)
class Judged:
    """One record of the batch with its verdict and the branch it stands on now, None while it floats."""

    record: Message[Record]
    verdict: Verdict
    branch: int | None = None
    set_aside: SetAside | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What the acknowledgement says; epoch, nonce and time come from the shell."""

    status: AckStatus
    number: int
    head_hash: bytes


@dataclass(frozen=True, slots=True)
class Reception:
    """Everything the shell stores for one batch, and the answer it sends after the commit.

    ``judged`` is in the batch's order. ``landed`` are records that floated before and stand on a branch now;
    ``closed`` are gaps that became lost ranges; ``gap`` is the first missing range of the answered branch.
    """

    judged: tuple[Judged, ...]
    landed: tuple[Held, ...]
    branches: tuple[Branch, ...]
    closed: tuple[LostRange, ...]
    gap: tuple[int, int] | None
    is_forked: bool
    answer: Answer


UNKNOWN_EPOCH = Answer(AckStatus.UNKNOWN_EPOCH, 0, GENESIS_HASH)
"""The answer to a hello or batch of an epoch that the cloud has no chain for."""


def receive(chain: ChainView, records: Sequence[Message[Record]]) -> Reception:
    """Judge the verified records of one batch against their chain, in any order."""
    tree = ChainTree(chain)
    known = set(tree.by_hash)
    own = [message for message in records if _is_of(chain, message)]
    new = {message.hash: held_from(message) for message in own if message.hash not in known}
    tree.add(new.values())
    is_forked = chain.is_forked or len(tree.branches) > 1 or any(_has_rival(tree, held) for held in new.values())
    judged = _judge(chain, tree, records, new=set(new))
    answer, gap = _answer(tree, judged, is_forked=is_forked, is_rolled_back=chain.is_rolled_back)
    landed = (tree.by_hash[held.hash] for held in chain.floating)
    return Reception(
        judged=tuple(judged),
        landed=tuple(held for held in landed if held.branch is not None),
        branches=tuple(tree.branches.values()),
        closed=tuple(tree.closed),
        gap=gap,
        is_forked=is_forked,
        answer=answer,
    )


@dataclass(frozen=True, slots=True)
class Greeted:
    """What a hello says of the chain, to be stored, and the answer to send."""

    is_forked: bool
    is_rolled_back: bool
    answer: Answer


def greet(chain: ChainView, hello: Hello) -> Greeted:
    """Answer a verified hello of this chain; a delayed or repeated one convicts nobody.

    A sound box is told the end of its branch, and finds out itself if that lies beyond its head. A box known to be
    rolled back or forked is told the last of its own records that the cloud holds, from where it can go on.
    """
    if (hello.terminal_id, hello.epoch) != (chain.terminal_id, chain.epoch):
        raise ValueError("the hello is of another chain")
    is_forked = chain.is_forked or hello.chain_state is ChainState.FORKED
    is_rolled_back = chain.is_rolled_back or hello.chain_state is ChainState.ROLLED_BACK
    tree = ChainTree(chain)
    greeted = ((hello.head_hash, hello.head_number), (hello.acknowledged_hash, hello.acknowledged_number))
    own = next((held for hash_, number in greeted if (held := _placed(tree, hash_, number)) is not None), None)
    if own is not None and own.branch is not None and not (is_forked or is_rolled_back):
        number, head_hash = _tip(tree, own.branch)
    else:
        number, head_hash = _tip(tree, MAIN_BRANCH) if own is None else (own.number, own.hash)
    has_gap = tree.first_floating_after(number) is not None
    status = _status(is_forked=is_forked, is_rolled_back=is_rolled_back, has_gap=has_gap)
    return Greeted(is_forked, is_rolled_back, Answer(status, number, head_hash))


def _refuse(
    message: Message[Record], terminal_id: TerminalId, find_terminal_key: Callable[[Record], PublicKey | Refusal]
) -> Refusal | None:
    if message.content.terminal_id != terminal_id:
        return Refusal.WRONG_TERMINAL
    key = find_terminal_key(message.content)
    return key if isinstance(key, Refusal) else RECORD.verify(message, key)


def _has_rival(tree: ChainTree, held: Held) -> bool:
    return any(hash_ != held.hash for hash_ in tree.hashes_at(held.number))


def _is_of(chain: ChainView, message: Message[Record]) -> bool:
    return (message.content.terminal_id, message.content.epoch) == (chain.terminal_id, chain.epoch)


def _judge(chain: ChainView, tree: ChainTree, records: Sequence[Message[Record]], *, new: set[bytes]) -> list[Judged]:
    room = FLOATING_MAX - sum(1 for hash_ in tree.floating if hash_ not in new)
    seen: set[bytes] = set()
    judged = []
    for message in records:
        if not _is_of(chain, message):
            judged.append(Judged(message, Verdict.SET_ASIDE, set_aside=SetAside.FOREIGN_CHAIN))
            continue
        branch = tree.by_hash[message.hash].branch
        if message.hash not in new or message.hash in seen:
            judged.append(Judged(message, Verdict.DUPLICATE, branch))
        elif message.hash in tree.crowded:
            judged.append(Judged(message, Verdict.SET_ASIDE, set_aside=SetAside.TOO_MANY_BRANCHES))
        elif branch is not None:
            judged.append(Judged(message, _verdict_on_branch(tree, message.hash), branch))
        elif room > 0:
            room -= 1
            judged.append(Judged(message, Verdict.FLOATING))
        else:
            judged.append(Judged(message, Verdict.SET_ASIDE, set_aside=SetAside.TOO_MANY_FLOATING))
        seen.add(message.hash)
    return judged


def _verdict_on_branch(tree: ChainTree, hash_: bytes) -> Verdict:
    if hash_ in tree.recovered:
        return Verdict.RECOVERED_LATER
    return Verdict.FORKED if hash_ in tree.forks else Verdict.ACCEPTED


def _answer(
    tree: ChainTree, judged: Sequence[Judged], *, is_forked: bool, is_rolled_back: bool
) -> tuple[Answer, tuple[int, int] | None]:
    placed = (each for each in reversed(judged) if each.branch is not None)
    last = next((each for each in placed if not tree.is_on_lost_number(each.record.hash)), None)
    branch = _nearest_below(tree, judged) if last is None or last.branch is None else last.branch
    number, head_hash = _tip(tree, branch)
    if last is not None and (is_forked or is_rolled_back):
        # The branch may end in records that this box does not have; its own last one it can compare.
        number, head_hash = last.record.content.number, last.record.hash
    floating = tree.first_floating_after(tree.branches[branch].tip_number)
    gap = None if floating is None else (tree.branches[branch].tip_number + 1, floating - 1)
    status = _status(is_forked=is_forked, is_rolled_back=is_rolled_back, has_gap=gap is not None)
    return Answer(status, number, head_hash), gap


def _nearest_below(tree: ChainTree, judged: Sequence[Judged]) -> int:
    """Return the branch that a batch of floating records most likely continues: the highest tip below them."""
    numbers = [each.record.content.number for each in judged if each.verdict is not Verdict.SET_ASIDE]
    below = [branch for branch in tree.branches.values() if numbers and branch.tip_number < min(numbers)]
    return max(below, key=lambda branch: (branch.tip_number, -branch.number)).number if below else MAIN_BRANCH


def _tip(tree: ChainTree, branch: int) -> tuple[int, bytes]:
    return tree.branches[branch].tip_number, tree.branches[branch].tip_hash


def _placed(tree: ChainTree, hash_: bytes, number: int) -> Held | None:
    held = tree.by_hash.get(hash_)
    return held if held is not None and held.number == number and held.branch is not None else None


def _status(*, is_forked: bool, is_rolled_back: bool, has_gap: bool) -> AckStatus:
    if is_forked:
        return AckStatus.FORKED
    if is_rolled_back:
        return AckStatus.ROLLED_BACK
    return AckStatus.GAP if has_gap else AckStatus.OK
