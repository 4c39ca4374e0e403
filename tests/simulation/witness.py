"""People before the displays: what they notice at once, without knowing what a box or the cloud holds.

A customer's code is fresh when it is made and stays what it was; a display that says yes to an old one, twice to the
same one, or to far more of one grant than a shop without network may take, is wrong whatever comes of it later.
"""

from dataclasses import dataclass, field

from edge.states import Result, ResultKind, Sale
from sync.ids import PaymentId, Serial
from sync.refusals import Refusal
from tests.simulation.box import SimulatedBox
from tests.simulation.oracle import OF_ONE_GRANT_AND_BOX_MINOR, Oracle
from tests.simulation.sightings import Approval, Tried, Way

CODE_AGE_MS_MAX = 100_000
"""A code is good for a minute; half a minute more for what clocks may differ, and ten seconds for the sale itself."""
STOPPED_FOR_MS = 60_000
"""A sale that was decided before the box stopped is on the display long before that."""


@dataclass(slots=True)
class _Served:
    """What a box gave one grant since it heard anything over its line."""

    heard_count: int
    since_ms: int
    total_minor: int = 0


@dataclass
class Witness:
    """Told of each result on each display; what is wrong by itself goes to ``findings``."""

    oracle: Oracle
    findings: list[str]
    _served: dict[tuple[int, Serial], _Served] = field(default_factory=dict)
    _yes_ms: dict[tuple[int, Serial, int], int] = field(default_factory=dict)
    """When each box first said yes to each code."""
    _over: set[PaymentId] = field(default_factory=set)
    """Sales whose display has said anything but yes."""

    def see(self, box: SimulatedBox, sale: Sale, result: Result, *, now_ms: int) -> None:
        """Look at a display."""
        self.oracle.shown[_words(result, self.oracle.tried.get(sale.payment_id))] += 1
        if sale.payment_id not in self.oracle.tried:
            # Whoever held the code up did not stay for the display; a yes to nobody is wrong.
            if result.kind is ResultKind.APPROVED:
                self.findings.append(f"box {box.number} approved a sale that nobody tried to pay")
            return
        self.oracle.answered.add(sale.payment_id)
        tried = self.oracle.tried[sale.payment_id]
        age_ms = now_ms - tried.made_ms
        is_clock_right = box.hands.system_offset_ms == 0
        if result.refusal is Refusal.CODE_FROM_FUTURE and is_clock_right:
            self.findings.append(f"box {box.number}, whose clock is right, took a code for one of the future")
        if result.kind is not ResultKind.APPROVED:
            self._over.add(sale.payment_id)
            if result.kind is not ResultKind.FAILED:
                # Whether a card that fails has taken the record, nobody knows at that moment.
                self.oracle.ended[box.known_as, sale.payment_id] = now_ms
            return
        if sale.payment_id in self._over:
            self.findings.append(f"box {box.number} said yes to a sale that had ended")
        seen = Approval(
            sale.amount.amount_minor,
            tried.serial,
            tried.counter,
            now_ms,
            box.number,
            box.heard_count,
            is_by_cloud=result.is_by_cloud,
        )
        self.oracle.approvals[box.known_as, sale.payment_id] = seen
        self._look_at_card(box, now_ms=now_ms)
        if not result.is_by_cloud:
            self._look_at_age(box, age_ms=age_ms)
            self._look_at_sum(box, seen)
        self._look_at_code(box, seen)

    def _look_at_age(self, box: SimulatedBox, *, age_ms: int) -> None:
        is_clock_right = box.hands.system_offset_ms == 0
        if age_ms > CODE_AGE_MS_MAX and is_clock_right:
            self.findings.append(f"box {box.number}, whose clock is right, took a code {age_ms // 1000} s old")

    def _look_at_card(self, box: SimulatedBox, *, now_ms: int) -> None:
        if box.stopped_since_ms is not None and now_ms - box.stopped_since_ms > STOPPED_FOR_MS:
            self.findings.append(f"box {box.number} went on approving although its screen said that it was stopped")

    def _look_at_code(self, box: SimulatedBox, seen: Approval) -> None:
        if seen.serial is None or seen.counter is None:
            return
        first_ms = self._yes_ms.setdefault((box.number, seen.serial, seen.counter), seen.at_ms)
        if first_ms != seen.at_ms and self.oracle.is_trusted(box.known_as, since_ms=first_ms):
            self.findings.append(f"box {box.number} said yes twice to the code {seen.counter} of {seen.serial.hex()}")

    def _look_at_sum(self, box: SimulatedBox, seen: Approval) -> None:
        if seen.serial is None:
            return
        key = (box.number, seen.serial)
        served = self._served.get(key)
        if served is None or served.heard_count != box.heard_count:
            served = self._served[key] = _Served(box.heard_count, seen.at_ms)
        served.total_minor += seen.amount_minor
        is_over = served.total_minor > OF_ONE_GRANT_AND_BOX_MINOR
        if is_over and self.oracle.is_trusted(box.known_as, since_ms=served.since_ms):
            self.findings.append(
                f"box {box.number}, cut off, gave {served.total_minor} to the one grant {seen.serial.hex()}"
            )


def _words(result: Result, tried: Tried | None) -> str:
    """Name what a display says, for the count of what was seen."""
    if result.kind is not ResultKind.APPROVED or tried is None:
        return result.refusal or result.kind
    way = "" if tried.way is Way.ONE_WAY else f"_{tried.way.name.lower()}"
    return f"approved{way}_by_cloud" if result.is_by_cloud else f"approved{way}"
