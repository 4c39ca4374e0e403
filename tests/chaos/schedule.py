"""Draws what happens when, to whom and for how long. Pure: one seed gives one schedule, whatever the machine does.

Kinds are dealt from a shuffled deck, so that each comes before any comes a second time. Faults overlap, but not two
on one target, since a process that is stopped cannot also be killed and watched.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from random import Random

BOXES = tuple(f"box-{number}" for number in range(1, 6))
WORKERS = ("worker-1", "worker-2")
SERVE, BROKER, DATABASE, REDIS = "serve", "broker", "database", "redis"
FULL_BOX, DISK, COMMITS = BOXES[-1], "small disk", "next COMMIT"
"""The box whose folder lies on the small disk."""


def to_broker(name: str) -> str:
    """Return the name of the line from a process to the broker."""
    return f"{name} to {BROKER}"


def to_database(name: str) -> str:
    """Return the name of the line from a process to the database."""
    return f"{name} to {DATABASE}"


TLS_LINES = tuple(to_broker(name) for name in (*BOXES, *WORKERS))
DATABASE_LINES = tuple(to_database(name) for name in (*WORKERS, SERVE))
LINES = TLS_LINES + DATABASE_LINES


class Kind(StrEnum):
    """What can happen; the value is what the closing table says."""

    BOX_KILLED = "box killed"
    BOX_STOPPED = "box stopped"
    WORKER_KILLED = "worker killed"
    WORKER_KILLED_AT_COMMIT = "worker killed at its COMMIT"
    WORKER_STOPPED = "worker stopped"
    SERVE_KILLED = "cloud's HTTP killed"
    BROKER_KILLED = "broker killed"
    BROKER_STOPPED = "broker stopped"
    BROKER_WIPED = "broker's storage wiped"
    DATABASE_KILLED = "database killed"
    DATABASE_KILLED_IN_COMMIT = "database killed in COMMIT"
    DATABASE_STOPPED = "database stopped"
    COMMIT_UNANSWERED = "answer to COMMIT lost"
    COMMIT_NOT_SENT = "cut just before COMMIT"
    REDIS_KILLED = "Redis killed"
    REDIS_STOPPED = "Redis stopped"
    LINE_SLOW = "line slow"
    LINE_CUT = "line cut"
    LINE_CUT_MID_PACKET = "line cut mid-packet"
    LINE_HALF_OPEN = "line half-open"
    BYTES_SPOILT = "bytes spoilt"
    DISK_FULL = "disk full"


@dataclass(frozen=True, slots=True)
class Range:
    """Whom a kind can strike, and for how long, seconds; what waits for an occasion waits at most so long."""

    targets: tuple[str, ...]
    least_s: float
    most_s: float


RANGES: dict[Kind, Range] = {
    Kind.BOX_KILLED: Range(BOXES, 0.0, 2.0),
    Kind.BOX_STOPPED: Range(BOXES, 0.5, 6.0),
    Kind.WORKER_KILLED: Range(WORKERS, 0.0, 2.0),
    Kind.WORKER_KILLED_AT_COMMIT: Range(DATABASE_LINES[:2], 10.0, 20.0),
    Kind.WORKER_STOPPED: Range(WORKERS, 0.5, 8.0),
    Kind.SERVE_KILLED: Range((SERVE,), 0.0, 2.0),
    Kind.BROKER_KILLED: Range((BROKER,), 0.0, 1.5),
    Kind.BROKER_STOPPED: Range((BROKER,), 0.5, 4.0),
    Kind.BROKER_WIPED: Range((BROKER,), 0.0, 1.5),
    Kind.DATABASE_KILLED: Range((DATABASE,), 0.0, 1.5),
    Kind.DATABASE_KILLED_IN_COMMIT: Range((COMMITS,), 15.0, 30.0),
    Kind.DATABASE_STOPPED: Range((DATABASE,), 0.5, 4.0),
    Kind.COMMIT_UNANSWERED: Range(DATABASE_LINES[:2], 10.0, 20.0),
    Kind.COMMIT_NOT_SENT: Range(DATABASE_LINES[:2], 10.0, 20.0),
    Kind.REDIS_KILLED: Range((REDIS,), 0.0, 2.0),
    Kind.REDIS_STOPPED: Range((REDIS,), 0.5, 3.0),
    Kind.LINE_SLOW: Range(LINES, 2.0, 8.0),
    Kind.LINE_CUT: Range(LINES, 0.2, 5.0),
    Kind.LINE_CUT_MID_PACKET: Range(LINES, 1.0, 3.0),
    Kind.LINE_HALF_OPEN: Range(LINES, 1.0, 12.0),
    Kind.BYTES_SPOILT: Range(TLS_LINES, 1.0, 3.0),
    Kind.DISK_FULL: Range((DISK,), 3.0, 9.0),
}
REST_S = 1.5
"""After a fault its target is left alone so long, or what was killed would never work again."""
REST_OF_ALL_S = 8.0
"""So long are those left alone on which all others depend: only what streams can be struck in its midst."""


@dataclass(frozen=True, slots=True)
class Planned:
    """One fault: when it begins, on whom, how long it lasts, and a further draw from 0 to 1 for its details."""

    at_s: float
    kind: Kind
    target: str
    lasts_s: float
    share: float


def draw_schedule(chance: Random, *, seconds: float, every_s: float) -> list[Planned]:
    """Draw the faults of a round, on average one in ``every_s``; each ends before the round does."""
    plans: list[Planned] = []
    free_from_s: dict[str, float] = {}
    deck: list[Kind] = []
    at_s = chance.uniform(0, every_s)
    while at_s < seconds:
        deck = deck or chance.sample(list(Kind), k=len(Kind))
        kind, targets = _deal(deck, free_from_s, at_s=at_s)
        if kind is not None:
            reach = RANGES[kind]
            target, lasts_s = chance.choice(targets), chance.uniform(reach.least_s, reach.most_s)
            lasts_s = min(lasts_s, seconds - at_s)
            plans.append(Planned(at_s, kind, target, lasts_s, chance.random()))
            free_from_s[target] = at_s + lasts_s + rest_s(target)
        at_s += chance.uniform(0, 2 * every_s)
    return plans


def rest_s(target: str) -> float:
    """Return how long a target is left alone after a fault."""
    return REST_OF_ALL_S if target in (BROKER, DATABASE, SERVE) else REST_S


def _deal(deck: list[Kind], free_from_s: dict[str, float], *, at_s: float) -> tuple[Kind | None, Sequence[str]]:
    """Take the first kind off the deck that finds a target at rest."""
    for kind in deck:
        targets = [target for target in RANGES[kind].targets if free_from_s.get(target, 0.0) <= at_s]
        if targets:
            deck.remove(kind)
            return kind, targets
    return None, ()
