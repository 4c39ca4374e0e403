"""HTTP of reconciliation: the statement as JSON, evidence packs, and one plain page that shows and fetches them."""

from importlib.resources import files
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path
from fastapi.responses import HTMLResponse, Response
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from cloud.cache import Cache
from cloud.db import run_read
from cloud.fleet import service as fleet_service
from cloud.http_access import operator_check
from cloud.http_errors import ApiError
from cloud.http_guard import POLICY_HEADER, page_policy
from cloud.ledger import audit
from cloud.merchants import store as merchant_store
from cloud.openapi import refusals
from cloud.reconciliation.evidence import EvidenceError, Issued, Subject, make_pack
from cloud.reconciliation.exposure import Exposure
from cloud.reconciliation.matching import Statement, TerminalStatement
from cloud.reconciliation.service import Report, make_report
from cloud.redis_keys import MERCHANT_OF_TERMINAL
from sync.ids import PaymentId, TerminalId

TerminalHex = Annotated[str, Path(pattern="^[0-9a-f]{16}$")]
PaymentHex = Annotated[str, Path(pattern="^[0-9a-f]{32}$")]


def make_router(engine: Engine, cache: Cache, issued: Issued, operator_token: str | None) -> APIRouter:
    """Make the page and the operators' routes; ``issued`` is what evidence is verified by."""
    router = APIRouter(tags=["reconciliation"])
    _add_statement(router, engine, cache, operator_token)
    _add_evidence(router, engine, issued, operator_token)
    return router


def _add_statement(router: APIRouter, engine: Engine, cache: Cache, operator_token: str | None) -> None:

    html = (files("cloud") / "web" / "overview" / "index.html").read_text(encoding="utf-8")
    headers = {POLICY_HEADER: page_policy(html)}

    @router.get("/", response_class=HTMLResponse, include_in_schema=False)
    def page() -> HTMLResponse:
        return HTMLResponse(html, headers=headers)

    @router.get("/v1/operator/reconciliation", dependencies=[Depends(operator_check(operator_token))])
    def statement() -> dict[str, Any]:
        """Reconcile everything received so far; amounts in minor units."""

        def work(session: Session) -> tuple[Report, list[audit.TrialBalanceLine]]:
            return make_report(session), audit.trial_balance(session)

        report, balances = run_read(engine, work)
        return {
            "is_clean": report.is_clean,
            "approved_minor": report.statement.approved_minor,
            "unexplained_minor": report.statement.unexplained_minor,
            "ledger_findings": list(report.ledger_findings),
            "terminals": [
                _terminal(terminal) | {"merchant": _merchant_name(engine, cache, terminal.terminal_id)}
                for terminal in report.statement.terminals
            ],
            "unexplained": _unexplained(report.statement),
            "exceptions": [
                {
                    "case_id": case.case_id,
                    "kind": case.kind,
                    "terminal_id": case.terminal_id.hex(),
                    "payment_id": case.payment_id.hex() if case.payment_id else None,
                    "next_action": case.next_action,
                    "opened_at_ms": case.opened_at_ms,
                }
                for case in report.exceptions
            ],
            "exposures": [_exposure(each) for each in report.exposures],
            "balances": [
                {"kind": line.kind, "currency": line.currency, "balance_minor": line.balance_minor} for line in balances
            ],
        }


def _add_evidence(router: APIRouter, engine: Engine, issued: Issued, operator_token: str | None) -> None:
    @router.get(
        "/v1/operator/evidence/{terminal_id}/{payment_id}",
        dependencies=[Depends(operator_check(operator_token))],
        response_class=Response,
        responses={200: {"content": {"application/zip": {}}}, **refusals(404)},
    )
    def evidence(terminal_id: TerminalHex, payment_id: PaymentHex) -> Response:
        """Return the evidence pack of one payment, which verifies without us."""
        subject = Subject(TerminalId(bytes.fromhex(terminal_id)), PaymentId(bytes.fromhex(payment_id)))
        try:
            pack = run_read(engine, lambda session: make_pack(session, subject, issued=issued))
        except EvidenceError as error:
            if error.code == "payment_unknown":
                raise ApiError(404, error.code, "This terminal has sent no such payment.") from error
            raise
        disposition = f'attachment; filename="evidence-{terminal_id}-{payment_id}.zip"'
        headers = {"Content-Disposition": disposition, "Cache-Control": "no-store"}
        return Response(pack, media_type="application/zip", headers=headers)


def _merchant_name(engine: Engine, cache: Cache, terminal_id: bytes) -> str:
    """Return the name of the terminal's merchant; names are asked for every two seconds by every open page."""

    def read(session: Session) -> bytes:
        terminal = fleet_service.find_terminal(session, TerminalId(terminal_id))
        if terminal is None:
            return b"unknown"
        merchant = merchant_store.merchants_by_id(session, [terminal.merchant_id])[terminal.merchant_id]
        return merchant.name.encode()

    return cache.get_or_make(MERCHANT_OF_TERMINAL, terminal_id.hex(), lambda: run_read(engine, read)).decode()


def _exposure(exposure: Exposure) -> dict[str, Any]:
    return {
        "serial": exposure.serial.hex(),
        "groups": exposure.groups,
        "ceiling_minor": exposure.ceiling_minor,
        "reserve_minor": exposure.reserve_minor,
        "bound_minor": exposure.bound_minor,
        "loss_minor": exposure.loss_minor,
        "is_within": exposure.is_within,
    }


def _terminal(terminal: TerminalStatement) -> dict[str, Any]:
    return {
        "terminal_id": terminal.terminal_id.hex(),
        "sales_count": terminal.sales_count,
        "approved_minor": terminal.approved_minor,
        "posted_minor": terminal.posted_minor,
        "suspense_minor": terminal.suspense_minor,
        "not_posted_minor": terminal.not_posted_minor,
        "voided_minor": terminal.voided_minor,
        "unexplained_minor": terminal.unexplained_minor,
        "is_complete": terminal.is_complete,
        "chains": [
            {"epoch": chain.epoch, "complete_up_to": chain.complete_up_to, "highest": chain.highest}
            for chain in terminal.chains
        ],
        "outcomes": {outcome.value: count for outcome, count in sorted(terminal.outcomes.items())},
    }


def _unexplained(statement: Statement) -> list[dict[str, Any]]:
    found = [each for terminal in statement.terminals for each in terminal.unexplained]
    return [
        {
            "terminal_id": each.terminal_id.hex(),
            "payment_id": each.payment_id.hex(),
            "difference_minor": each.difference_minor,
            "words": each.words,
        }
        for each in (*found, *statement.orphans)
    ]
