"""The record of one run: which session took which step, who waited afterwards, and which errors the server gave."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

_TABLE = re.compile(r"(?:\bFROM|\bINTO|\bUPDATE|JOIN)\s+(?!JSON_TABLE)`?(\w+)`?", re.IGNORECASE)


class StopKind(StrEnum):
    """What a session is about to do where it stops."""

    BEGIN = "begin"
    STATEMENT = "statement"
    COMMIT = "commit"
    ROLLBACK = "rollback"
    PAUSE = "pause"
    """Its transaction was given up, and ``Retry`` lets some time pass before the next attempt."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Where a session stands; ``text`` is a statement's verb and table, ``pause_s`` how long it wants to pause."""

    kind: StopKind
    text: str
    pause_s: float = 0.0


@dataclass(slots=True)
class Step:
    """One step taken; ``waiting`` names the sessions that waited for a lock after it, ``errors`` what was raised."""

    session: str
    stop: Stop
    waiting: tuple[str, ...] = ()
    errors: list[tuple[str, int]] = field(default_factory=list)
    """(session, the server's error number)."""


@dataclass(slots=True)
class Run:
    """What came of a run: every step in order, and each session's answer or the error it ended with."""

    steps: list[Step] = field(default_factory=list)
    answers: dict[str, object] = field(default_factory=dict)
    failures: dict[str, BaseException] = field(default_factory=dict)

    @property
    def errors(self) -> Counter[int]:
        """How often the server raised each error number, handled or not."""
        return Counter(number for step in self.steps for _, number in step.errors)

    @property
    def waits(self) -> int:
        """How many steps left a session waiting that had not waited before."""
        before: tuple[str, ...] = ()
        began = 0
        for step in self.steps:
            began += len(set(step.waiting) - set(before))
            before = step.waiting
        return began

    def order(self) -> list[tuple[str, str]]:
        """The order of the statements, as (session, statement)."""
        return [(step.session, step.stop.text) for step in self.steps]

    def text(self) -> str:
        """The run as a table, a line for each step."""
        lines = []
        for number, step in enumerate(self.steps, start=1):
            notes = [f"{', '.join(step.waiting)} waits"] if step.waiting else []
            notes += [f"{session} gets {error}" for session, error in step.errors]
            lines.append(f"{number:4} {step.session:10} {step.stop.text:45} {'; '.join(notes)}".rstrip())
        return "\n".join(lines + _ends(self.answers) + _ends(self.failures))


def summary(statement: str) -> str:
    """Return a statement's verb and table, ``FOR UPDATE`` where it locks."""
    if "SAVEPOINT" in statement:
        return " ".join(statement.split()[:-1])
    verb = statement.split(maxsplit=1)[0].upper()
    table = _TABLE.search(statement)
    locks = " FOR UPDATE" if statement.rstrip().endswith("FOR UPDATE") else ""
    return f"{verb} {table[1] if table is not None else ''}{locks}"


def _ends(ends: Mapping[str, object]) -> list[str]:
    return [f"     {session:10} ends with {end!r}" for session, end in ends.items()]
