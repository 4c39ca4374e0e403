"""Grant returns: the phone's signed last word on a grant, which releases its reserve (protocol §4).

It names the last counter and every code that was shown and is not yet known to be posted; a code that turns up later
and is not in it convicts the phone with its own two signatures.
"""

import itertools
from dataclasses import dataclass

from sync.envelope import SignedType
from sync.ids import KeyId, Serial
from sync.layout import Layout, data, group, many, uint
from sync.message import MessageKind
from sync.refusals import Refusal

SHOWN_MAX = 256


@dataclass(frozen=True, slots=True)
class GrantReturn:
    """``shown`` lists (counter, ceiling in minor units), ascending; ``key_id`` is the device key's."""

    key_id: KeyId
    serial: Serial
    last_counter: int
    shown: tuple[tuple[int, int], ...]
    returned_at_s: int


def _check_shown(returned: GrantReturn) -> Refusal | None:
    """Each counter stands once, and none lies beyond the last."""
    counters = [counter for counter, _ in returned.shown]
    if any(before >= after for before, after in itertools.pairwise(counters)):
        return Refusal.NON_CANONICAL
    return Refusal.OUT_OF_RANGE if counters and counters[-1] > returned.last_counter else None


GRANT_RETURN = MessageKind(
    SignedType.GRANT_RETURN,
    Layout(
        GrantReturn,
        data("key_id", 4),
        data("serial", 8),
        uint("last_counter"),
        many(
            "shown",
            group("shown_code", uint("counter", least=1), uint("ceiling_minor")),
            count_max=SHOWN_MAX,
        ),
        uint("returned_at_s"),
        size_max=4096,
        check=_check_shown,
    ),
)
