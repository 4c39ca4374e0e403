"""What the local API tells of the box: plain values made of states, results and health. Nothing is asked here."""

from typing import Any

from edge.health import Health
from edge.states import (
    AskingCloud,
    Authorising,
    CustomerAsked,
    Idle,
    Result,
    ResultKind,
    Scanning,
    ShowingResult,
    State,
)
from edge.words import words_of
from sync.money import Money


def state_view(state: State) -> dict[str, Any]:
    """Tell how the sale stands; ``request`` is the text of the payment request that is shown."""
    match state:
        case Idle():
            return {"state": "idle"}
        case Scanning(hint=hint, request_text=request_text):
            words = None if hint is None else words_of(hint)
            view = {"state": "scanning", "hint": words and f"{words.happened} {words.to_do}"}
            return view | ({"request": request_text} if request_text else {})
        case Authorising():
            return {"state": "authorising"}
        case AskingCloud():
            return {"state": "asking"}
        case CustomerAsked():
            return {"state": "customer_asked"}
        case ShowingResult(result=result):
            return result_view(result)


def result_view(result: Result) -> dict[str, Any]:
    """Tell how a sale ended, in words."""
    view: dict[str, Any] = {"state": result.kind.value}
    if result.kind is ResultKind.APPROVED:
        view |= {"record_number": result.record_number, "has_receipt": bool(result.receipt_text)}
        view["is_by_cloud"] = result.is_by_cloud
    if result.refusal is not None:
        words = words_of(result.refusal)
        view |= {"refusal": result.refusal, "happened": words.happened, "to_do": words.to_do}
    if result.words:
        view |= {"happened": result.words, "to_do": ""}
    return view


def health_view(health: Health, currency: str) -> dict[str, Any]:
    """Tell how the box stands, and for how much and how long it may still sell alone."""
    box, room = health.box, health.box.room
    return {
        "level": health.level.name.lower(),
        "link": "online" if box.is_link_up else "offline",
        "queue": {"count": box.queue.count, **money_view(Money(box.queue.amount_minor, currency))},
        "acknowledged_number": box.chain.acknowledged_number,
        "head_number": box.chain.head_number,
        "room": {"count": room.count, "seconds": room.seconds, **money_view(Money(room.amount_minor, currency))},
        "one_payment": money_view(Money(box.one_payment_minor, currency)),
        "clock": box.reading.confidence.name.lower(),
        "now_ms": box.reading.now_ms,
        "quarantine": box.chain.quarantine_reason,
        "findings": [
            {
                "check": finding.check,
                "level": finding.level.name.lower(),
                "words": finding.words,
                "to_do": finding.to_do,
            }
            for finding in health.findings
        ],
    }


def money_view(money: Money) -> dict[str, Any]:
    """Write an amount for programs and for people."""
    return {"amount_minor": money.amount_minor, "currency": money.currency, "amount": str(money)}
