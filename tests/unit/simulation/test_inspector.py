"""A copied card that stopped nobody is named; what a box says is sent counts for the life that it says it in."""

from dataclasses import dataclass, replace
from typing import cast

from edge.outbox_types import OutboxState
from sync.clock import Clock
from sync.ids import TerminalId
from tests.simulation.box import SimulatedBox
from tests.simulation.cloud import SimulatedCloud
from tests.simulation.inspector import Inspector
from tests.simulation.oracle import Oracle
from tests.unit.simulation.seen import HERE, payment_id

FRESH = OutboxState(
    terminal_id=HERE,
    epoch=1,
    head_number=5,
    head_hash=b"",
    acknowledged_number=5,
    acknowledged_hash=b"",
    unacknowledged_amount_minor=0,
    unacknowledged_count=0,
    currency="EUR",
    clock_floor_ms=0,
    floor_clock_sales=0,
    last_contact_ms=None,
    last_contact_boot_id=None,
    last_contact_monotonic_ms=None,
    quarantine_reason=None,
)


@dataclass
class Screen:
    """What there is to be seen of a box."""

    number: int
    shown: OutboxState | None = FRESH
    opened_with: OutboxState | None = FRESH
    known_as: TerminalId = HERE
    cards_put_in: int = 0
    enrolled_ms: int = 0
    stopped_since_ms: int | None = None
    life: object = None

    async def state(self) -> OutboxState | None:
        return self.shown


@dataclass
class Operators:
    """Whether the terminal is on their list."""

    is_told: bool = True

    def read(self, _work: object) -> bool:
        return self.is_told

    def now_ms(self) -> int:
        return 1000


def inspector_of(operators: Operators, oracle: Oracle | None = None) -> tuple[Inspector, list[str]]:
    findings: list[str] = []
    made = Inspector(cast(SimulatedCloud, operators), oracle or Oracle(), findings, cast(Clock, operators))
    return made, findings


async def look(inspector: Inspector, *screens: Screen) -> None:
    await inspector.look([cast(SimulatedBox, screen) for screen in screens])


def copied(inspector: Inspector) -> tuple[Screen, Screen]:
    first, twin = Screen(0), Screen(100)
    inspector.copied_card(cast(SimulatedBox, first), cast(SimulatedBox, twin))
    return first, twin


async def test_a_copy_that_has_met_its_original_must_have_stopped_one_of_them() -> None:
    inspector, findings = inspector_of(Operators())
    first, twin = copied(inspector)
    first.shown = replace(FRESH, head_number=9, acknowledged_number=6)
    await look(inspector, first, twin)
    inspector.judge()
    assert (inspector.clones_met, inspector.is_waiting, findings) == (0, False, [])
    twin.shown = replace(FRESH, head_number=6, acknowledged_number=6)
    await look(inspector, first, twin)
    assert (inspector.clones_met, inspector.is_waiting) == (1, True)
    inspector.judge()
    assert any("neither box has stopped" in words for words in findings)


async def test_a_copy_that_was_found_is_counted_and_the_operators_must_be_told() -> None:
    operators = Operators()
    inspector, findings = inspector_of(operators)
    first, twin = copied(inspector)
    first.shown = replace(FRESH, head_number=6, acknowledged_number=6)
    twin.shown = replace(FRESH, head_number=7, acknowledged_number=6, quarantine_reason="forked")
    await look(inspector, first, twin)
    inspector.judge()
    assert (inspector.clones_met, findings) == (1, [])
    operators.is_told = False
    inspector.judge()
    assert any("nobody in the cloud is told" in words for words in findings)


async def test_a_card_that_was_exchanged_before_both_had_contact_proves_nothing() -> None:
    inspector, findings = inspector_of(Operators())
    first, twin = copied(inspector)
    first.shown = twin.shown = replace(FRESH, head_number=6, acknowledged_number=6)
    twin.cards_put_in = 1
    await look(inspector, first, twin)
    inspector.judge()
    assert (inspector.clones_met, findings) == (0, [])


async def test_an_approval_is_seen_to_be_sent_only_in_the_life_that_showed_it() -> None:
    oracle = Oracle()
    inspector, _ = inspector_of(Operators(), oracle)
    box, key = Screen(0, life="the first life"), (HERE, payment_id(1))
    inspector.approved(cast(SimulatedBox, box), key)
    box.shown = replace(FRESH, head_number=6)
    await look(inspector, box)
    assert oracle.seen_sent == set()
    box.shown = replace(FRESH, head_number=6, acknowledged_number=6)
    await look(inspector, box)
    assert oracle.seen_sent == {key}
    inspector.approved(cast(SimulatedBox, box), (HERE, payment_id(2)))
    box.life = "the second life"
    await look(inspector, box)
    assert oracle.seen_sent == {key}
