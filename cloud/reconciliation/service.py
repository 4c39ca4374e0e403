"""Makes the statement of one moment, with the proof of the books beside it; inside the caller's transaction."""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from cloud.ledger import audit
from cloud.reconciliation import evidence, store
from cloud.reconciliation.exposure import Exposure
from cloud.reconciliation.matching import Statement, reconcile
from sync.ids import PaymentId, TerminalId

EXCEPTIONS_MAX = 500
EXCEPTIONS_OF_TERMINAL_MAX = 50


@dataclass(frozen=True, slots=True)
class OpenCase:
    """An exception with what a person does next; ``case_id`` names it to ``tillbox cloud evidence``."""

    case_id: int
    kind: str
    terminal_id: TerminalId
    payment_id: PaymentId | None
    next_action: str
    opened_at_ms: int


@dataclass(frozen=True, slots=True)
class Report:
    """The statement, what the ledger's own audit found (empty when the books hold), and the open exceptions.

    ``exposures``: what each grant that was spent twice could cost, and did.
    """

    statement: Statement
    ledger_findings: tuple[str, ...]
    exceptions: tuple[OpenCase, ...]
    exposures: tuple[Exposure, ...]

    @property
    def is_clean(self) -> bool:
        """Whether nothing is unexplained and the books hold; named exceptions may still wait for a person."""
        return self.statement.unexplained_minor == 0 and not self.ledger_findings


def make_report(session: Session) -> Report:
    """Reconcile everything received so far."""
    statement = reconcile(
        sales=store.recorded_sales(session),
        decided=store.decided_payments(session),
        posted=store.posted_payments(session),
        chains=store.chains(session),
    )
    findings = tuple(f"{each.kind} {each.subject} {each.difference_minor}" for each in audit.verify_ledger(session))
    exceptions = tuple(
        OpenCase(row.id, row.kind, row.terminal_id, row.payment_id, row.next_action, row.opened_at_ms)
        for row in store.open_exceptions(session, of_terminal_max=EXCEPTIONS_OF_TERMINAL_MAX, limit=EXCEPTIONS_MAX)
    )
    return Report(statement, findings, exceptions, evidence.exposures(session))
