"""Bugs planted where the cloud is asked, a request is carried, or something is taken back: at both ends."""

from tests.mutants.mutant import Edit, Mutant

_POSTING = "cloud/ingest/posting.py"
_JOINING = "cloud/ingest/joining.py"
_OPEN_SALES = "edge/open_sales.py"
_STEPS = "edge/steps.py"

ONLINE = (
    Mutant(
        "fallback_under_new_id",
        "What the box decides after the cloud's silence is recorded under a new payment id.",
        (
            Edit(
                "edge/signer.py",
                "            kind=RecordKind.SALE,\n            payment_id=sale.payment_id,\n",
                "            kind=RecordKind.SALE,\n"
                "            payment_id=PaymentId(chain.head_hash[:16])\n"
                "            if Reason.ONLINE_ASKED in reasons\n"
                "            else sale.payment_id,\n",
            ),
        ),
    ),
    Mutant(
        "void_lost",
        "A void record is stored, and what was approved, held or posted for its payment stays.",
        (
            Edit(
                "cloud/ingest/service.py",
                "    for void in voids:\n        void_payment(session, void, now_ms=now_ms)\n",
                "",
            ),
        ),
    ),
    Mutant(
        "void_not_written",
        "A sale that ends without an approval is forgotten by the box, which takes nothing back.",
        (
            Edit(
                _OPEN_SALES,
                "            else:\n                await self._void(sale)\n",
                "            else:\n                await self._outbox.forget(payment_id)\n",
            ),
        ),
    ),
    Mutant(
        "record_posted_beside_approval",
        "The record of a sale that the cloud has approved is posted as well, since nobody looks for the approval.",
        (
            Edit(_POSTING, "    joined = joining.join(session, sales, now_ms=now_ms)\n", "    joined = Joined()\n"),
            Edit(
                _POSTING,
                "    joined.add(joining.join(session, missed, now_ms=now_ms) if missed else Joined())\n",
                "",
            ),
            Edit(
                _POSTING,
                "        if isinstance(verdict, Postable) and is_claimed:\n",
                "        if isinstance(verdict, Postable):\n",
            ),
            Edit(
                _POSTING,
                "    firsts = claim_store.spend_codes(session, codes)\n",
                "    firsts = [None for _ in claim_store.spend_codes(session, codes)]\n",
            ),
        ),
    ),
    Mutant(
        "hold_not_released",
        "The void of a sale whose approval was carried finds the promise, and leaves the money held.",
        (
            Edit(
                _JOINING,
                "    if hold is not None and courier.release(session, hold, HoldStatus.VOIDED, now_ms=now_ms):\n",
                "    if hold is not None:\n",
            ),
        ),
    ),
    Mutant(
        "late_answer_shown",
        "A sale that is taken back ends at once, and the cloud's yes that comes behind is shown all the same.",
        (
            Edit(
                _STEPS,
                "            return _stop_waiting(state, WaitEnd.CANCELLED, now_ms=now_ms)\n",
                "            return _end(state.sale, Result(ResultKind.CANCELLED), now_ms=now_ms)\n",
            ),
            Edit(
                _STEPS,
                "        case TextRead() | SaleAuthorised() | CameraFailed() | RequestWanted():\n"
                "            return Step(state)\n"
                "        case CloudAsked()",
                "        case SaleAuthorised(payment_id, result) if isinstance(state, ShowingResult):\n"
                "            is_shown = state.sale.payment_id == payment_id\n"
                "            return _end(state.sale, result, now_ms=now_ms) if is_shown else Step(state)\n"
                "        case TextRead() | SaleAuthorised() | CameraFailed() | RequestWanted():\n"
                "            return Step(state)\n"
                "        case CloudAsked()",
            ),
        ),
        seeds_max=80,
    ),
    Mutant(
        "return_releases_everything",
        "A returned grant holds nothing back, though codes of it are on their way.",
        (Edit("cloud/wallets/reserve.py", "        open_minor += hold.open_minor\n", "        open_minor += 0\n"),),
        seeds_max=80,
    ),
    Mutant(
        "false_return_believed",
        "A code that its phone's return has left out is posted, and the phone stays in good standing.",
        (
            Edit(
                "cloud/wallets/reserve.py",
                "    return ceiling_minor is None or amount_minor > ceiling_minor\n",
                "    return ceiling_minor is not None and amount_minor > ceiling_minor\n",
            ),
        ),
    ),
)
