"""What somebody plays to a box instead of the cloud's answers is nothing that the box has heard of the cloud."""

import random
from pathlib import Path
from typing import cast

from edge.downlink import Downlink
from tests.simulation.box import SimulatedBox
from tests.simulation.broker import Broker
from tests.simulation.card import Cards
from tests.simulation.hands import HandsOfBox
from tests.unit.simulation.seen import SHOP


class NotedDownlink:
    """What the box's software was given."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, bytes]] = []

    async def take(self, topic: str, payload: bytes) -> None:
        self.taken.append((topic, payload))


async def test_an_old_answer_that_is_played_does_not_count_as_heard_and_true_ones_are_held_back(tmp_path: Path) -> None:
    rng, downlink = random.Random(1), NotedDownlink()
    box = SimulatedBox(
        0,
        world=tmp_path,
        folder=tmp_path,
        owner=SHOP,
        hands=HandsOfBox(0, lambda: 0, has_rtc=True),
        cards=Cards(),
        broker=Broker(rng, lambda _kind: None),
        rng=rng,
        show=lambda _box, _sale, _result: None,
        asked=lambda _box, _sale: None,
    )
    old, true = ("acknowledgement", b"old"), ("acknowledgement", b"true")
    await box.hear(cast(Downlink, downlink), *old)
    assert box.heard_count == 1
    box.old_answer = old
    for answer in (old, true, old):
        await box.hear(cast(Downlink, downlink), *answer)
    assert (box.heard_count, downlink.taken) == (1, [old, old, old])
    box.old_answer = None
    await box.hear(cast(Downlink, downlink), *true)
    assert (box.heard_count, downlink.taken[-1]) == (2, true)
