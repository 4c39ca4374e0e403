"""The table of MQTT topics: what travels where between a terminal and the cloud, and who may publish it.

One table, because three places must agree on it: the link that publishes and subscribes, the broker's access list
(``cloud/fleet/broker_access.py``) and the documentation. Every topic is ``tillbox/v1/{terminal}/{name}``, where
``{terminal}`` is the terminal's id as 16 lower-case hex digits, which is also the name on its client certificate:
that is how the broker binds a terminal to its own topics.

The topic decides who may speak, never what is believed: every payload that counts is signed.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from sync.ids import TerminalId

ROOT = "tillbox/v1"
_TERMINAL_ID_SIZE = 8
_GROUP_SHAPE = re.compile(r"[a-z0-9-]{1,32}")


class Direction(StrEnum):
    """Which way a message travels; it also says who may publish and who may read."""

    UP = "up"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class Topic:
    """One row: ``qos`` as in MQTT, ``retained`` as published, ``payload`` and ``publisher`` in words."""

    name: str
    direction: Direction
    qos: int
    retained: bool
    payload: str
    publisher: str


HELLO = Topic(
    name="hello",
    direction=Direction.UP,
    qos=1,
    retained=False,
    payload="greeting after each connect: epoch and head that the terminal holds, with a nonce",
    publisher="the terminal",
)
RECORDS = Topic(
    name="records",
    direction=Direction.UP,
    qos=1,
    retained=False,
    payload="batch of the terminal's own signed records",
    publisher="the terminal",
)
CARRIED = Topic(
    name="carried",
    direction=Direction.UP,
    qos=1,
    retained=False,
    payload="batch of a neighbour's sealed records, under the id of the terminal that carries them",
    publisher="the terminal that carries",
)
STATUS = Topic(
    name="status",
    direction=Direction.UP,
    qos=1,
    retained=True,
    payload="health of the terminal; its last will says that it has left",
    publisher="the terminal, or the broker as its last will",
)
AUTHORISE = Topic(
    name="authorise",
    direction=Direction.UP,
    qos=1,
    retained=False,
    payload="request to decide one sale online",
    publisher="the terminal",
)
ACKNOWLEDGEMENT = Topic(
    name="acknowledgement",
    direction=Direction.DOWN,
    qos=1,
    retained=False,
    payload="signed acknowledgement of epoch, number and head hash, after the cloud's commit",
    publisher="the cloud's ingest",
)
TRUST = Topic(
    name="trust",
    direction=Direction.DOWN,
    qos=1,
    retained=True,
    payload="signed trust snapshot or delta",
    publisher="the cloud's fleet service",
)
POLICY = Topic(
    name="policy",
    direction=Direction.DOWN,
    qos=1,
    retained=True,
    payload="signed policy",
    publisher="the cloud's fleet service",
)
COMMAND = Topic(
    name="command",
    direction=Direction.DOWN,
    qos=1,
    retained=False,
    payload="signed command with an expiry",
    publisher="the cloud's fleet service",
)
ANSWER = Topic(
    name="answer",
    direction=Direction.DOWN,
    qos=1,
    retained=False,
    payload="signed answer to one online request, with an expiry",
    publisher="the cloud's payments",
)

TOPICS = (HELLO, RECORDS, CARRIED, STATUS, AUTHORISE, ACKNOWLEDGEMENT, TRUST, POLICY, COMMAND, ANSWER)
"""Every row; there is no topic outside this table."""

_TOPIC_BY_NAME = {row.name: row for row in TOPICS}
_TEXT_SHAPE = re.compile(rf"{ROOT}/([0-9a-f]{{{2 * _TERMINAL_ID_SIZE}}})/([a-z]+)")


def terminal_name(terminal_id: TerminalId) -> str:
    """Return the terminal's name on topics and certificates: 16 lower-case hex digits.

    Raises ``ValueError`` when the id is not 8 bytes long.
    """
    if len(terminal_id) != _TERMINAL_ID_SIZE:
        raise ValueError(f"a terminal id has {_TERMINAL_ID_SIZE} bytes, not {len(terminal_id)}")
    return terminal_id.hex()


def topic(row: Topic, terminal_id: TerminalId) -> str:
    """Return the one topic of ``row`` that belongs to this terminal."""
    return f"{ROOT}/{terminal_name(terminal_id)}/{row.name}"


def parse_topic(text: str) -> tuple[Topic, TerminalId] | None:
    """Return the row and the terminal of a topic that came with a message, or None when it is not exactly ours.

    Strict, because a worker takes the sender's identity from here: other versions, capital hex digits, wildcards,
    missing or further levels are all foreign.
    """
    match = _TEXT_SHAPE.fullmatch(text)
    if match is None:
        return None
    row = _TOPIC_BY_NAME.get(match[2])
    return None if row is None else (row, TerminalId(bytes.fromhex(match[1])))


def subscription(row: Topic) -> str:
    """Return the filter that matches this row for every terminal."""
    return f"{ROOT}/+/{row.name}"


def shared_subscription(group: str, row: Topic) -> str:
    """Return the filter by which the workers of ``group`` divide this row's messages among themselves (MQTT v5 §4.8.2).

    ``group`` is 1 to 32 lower-case letters, digits and hyphens, else ``ValueError``.
    """
    if _GROUP_SHAPE.fullmatch(group) is None:
        raise ValueError("a group name has 1 to 32 lower-case letters, digits and hyphens")
    return f"$share/{group}/{subscription(row)}"
