"""All vector files by name, each with the function that makes its content."""

import json
from collections.abc import Callable
from functools import partial
from typing import Any

from sync.envelope import SignedType
from tests.fakes.signed_examples import ALL_KINDS
from tests.vectors import codes, ground, messages, payment_code_checks, trust

FILES: dict[str, Callable[[], dict[str, Any]]] = {
    "cbor": ground.make_cbor,
    "text": ground.make_texts,
    "keys": ground.make_keys,
    "sig_structure": ground.make_sig_structures,
    "payment_code": payment_code_checks.make,
    "shown_payment_request": codes.make_payment_requests,
    "carried_approval": codes.make_approvals,
    "shown_receipt": codes.make_receipts,
    "held_snapshot": trust.make_snapshots,
    "held_delta": trust.make_deltas,
    "held_policy": trust.make_policies,
    "record_chain": trust.make_chain,
    "batch": ground.make_batches,
    SignedType.DEVICE_REQUEST.name.lower(): ground.make_device_requests,
    **{f"message_{kind.name.lower()}": partial(messages.make, kind) for kind in ALL_KINDS},
}


def render(name: str) -> str:
    """Return the text of one file, the same in every run."""
    return json.dumps(FILES[name](), indent=1, ensure_ascii=False) + "\n"
