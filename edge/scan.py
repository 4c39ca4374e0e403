"""``tillbox scan``: what reader and chain make of pictures, a video or a webcam; nothing is stored."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from edge.box_clock import BoxClock, system_hands
from edge.decision import Approved, Case, Situation, decide
from edge.devices import sightings
from edge.limits import Counters
from edge.settings import TerminalSettings
from edge.trust import Trust, load_root
from edge.words import words_of
from sync.ids import Serial
from sync.money import Money
from sync.payment_code import PaymentCode, read_payment_code, verify_signatures
from sync.record import ClockConfidence
from sync.refusals import Refusal


@dataclass(frozen=True, slots=True)
class ScanLine:
    """What came of one picture or text: named products in the order of the chain."""

    path: str
    texts: tuple[str, ...]
    decode_ms: float
    products: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """Return one line of JSON: ``path``, ``texts``, ``ms``, and the products if any were asked for."""
        return json.dumps(
            {"path": self.path, "texts": list(self.texts), "ms": round(self.decode_ms, 3)} | self.products
        )

    def to_text(self) -> str:
        """Return the same for a person."""
        found = " ".join(self.texts) if self.texts else "no code found"
        lines = [f"{self.path} ({self.decode_ms:.1f} ms)", f"  text       {found}"]
        lines += [f"  {name:<10} {_flat(value)}" for name, value in self.products.items()]
        return "\n".join(lines)


def scan_paths(
    paths: Sequence[str],
    *,
    settings: TerminalSettings | None,
    amount_minor: int,
    decode_only: bool,
    watch_s: float,
) -> Iterator[ScanLine]:
    """Send every path through the reader and, unless ``decode_only``, each text through the chain.

    With ``settings`` the chain goes on to signatures and decision, with the trust of that box and empty counters.
    """
    trust = None
    if settings is not None:
        trust = Trust.load(settings.trust_folder, load_root(settings.root_key_file))
    for path in paths:
        for sighting in sightings(path, watch_s=watch_s):
            if decode_only or not sighting.texts:
                products = {"problem": sighting.problem} if sighting.problem else {}
                yield ScanLine(sighting.source, sighting.texts, sighting.decode_ms, products)
                continue
            for text in sighting.texts:
                products = _run_chain(text, trust, amount_minor=amount_minor)
                yield ScanLine(sighting.source, (text,), sighting.decode_ms, products)


def _run_chain(text: str, trust: Trust | None, *, amount_minor: int) -> dict[str, Any]:
    code = read_payment_code(text)
    if isinstance(code, Refusal):
        return {"code": _refused(code)}
    products: dict[str, Any] = {"code": _described(code)}
    if trust is None:
        return products
    refusal = verify_signatures(code, trust.find_grant_issuer)
    products["signatures"] = "both hold" if refusal is None else _refused(refusal)
    if refusal is None:
        products["decision"] = _decided(code, trust, amount_minor=amount_minor)
    return products


def _described(code: PaymentCode) -> dict[str, Any]:
    return {
        "mode": code.mode.name.lower(),
        "serial": code.serial.hex(),
        "counter": code.counter,
        "time_s": code.time_s,
        "grant_issued_s": code.grant.issued_s,
        "grant_expires_s": code.grant.expires_s,
        "limit": str(Money(code.grant.limit_minor, code.grant.currency)),
        "bytes": len(code.encode()),
    }


def _decided(code: PaymentCode, trust: Trust, *, amount_minor: int) -> dict[str, Any]:
    now_ms = BoxClock(system_hands(), floor_ms=code.grant.issued_s * 1000, contact=None).now_ms()
    situation = Situation(
        now_ms=now_ms,
        confidence=ClockConfidence.KEPT,
        offline_s=0,
        is_link_up=False,
        is_quarantined=False,
        is_denied=trust.is_denied(Serial(code.serial)),
        is_spent=False,
        snapshot_expires_ms=trust.held.expires_ms,
        policy_expires_ms=trust.policy.expires_ms,
        selection_draw=999_999,
    )
    amount = Money(amount_minor, trust.policy.currency)
    decision = decide(Case(code, amount, trust.policy, Counters(0, 0, 0, 0, 0), situation))
    if isinstance(decision, Approved):
        return {"would": "approve", "amount": str(amount), "reasons": int(decision.reasons)}
    return {"would": "decline", "amount": str(amount)} | _refused(decision.refusal)


def _refused(refusal: Refusal) -> dict[str, str]:
    words = words_of(refusal)
    return {"refusal": refusal.value, "words": f"{words.happened} {words.to_do}"}


def _flat(value: Any) -> str:
    return ", ".join(f"{name} {part}" for name, part in value.items()) if isinstance(value, dict) else str(value)
