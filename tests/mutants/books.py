"""Bugs planted where the money is: ledger, wallets and reserves."""

from tests.mutants.mutant import Edit, Mutant

_ENTRIES = "cloud/ledger/entries.py"
_POSTING = "cloud/ingest/posting.py"
_SERVICE = "cloud/ingest/service.py"
_STORE = "cloud/ledger/store.py"
_WALLETS = "cloud/wallets/service.py"
_RESERVE = "cloud/wallets/reserve.py"

BOOKS = (
    Mutant(
        "suspense_paid_out",
        "The merchant is credited the whole sale at once, the uncovered part as well.",
        (
            Edit(
                _ENTRIES,
                "        *_credits(sale, covered=covered),\n        *_uncovered(sale, split.uncovered),\n",
                "        *_credits(sale, covered=sale.amount),\n"
                "        Posting(platform(AccountKind.OFFLINE_LOSS, currency), -split.uncovered),\n",
            ),
        ),
        seeds_max=80,
    ),
    Mutant(
        "cent_lost_in_commission",
        "Net and commission are rounded each by itself, and the cent between them is left in clearing.",
        (
            Edit(
                _ENTRIES,
                "            Posting(platform(AccountKind.FEE_INCOME, currency), commission),\n",
                "            Posting(platform(AccountKind.FEE_INCOME, currency), commission),\n"
                "            Posting(platform(AccountKind.FUNDING_CLEARING, currency), covered - commission - net),\n",
            ),
            Edit(
                "cloud/ingest/posting.py",
                "        entries.platform(AccountKind.FEE_INCOME, currency),\n",
                "        entries.platform(AccountKind.FEE_INCOME, currency),\n"
                "        entries.platform(AccountKind.FUNDING_CLEARING, currency),\n",
            ),
            Edit(
                _ENTRIES,
                "    commission, net = covered.split_rate(rate_ppm=sale.commission_ppm)\n",
                "    commission, _ = covered.split_rate(rate_ppm=sale.commission_ppm)\n"
                "    net_minor = covered.amount_minor * (1_000_000 - sale.commission_ppm) // 1_000_000\n"
                "    net = Money(net_minor, covered.currency)\n",
            ),
        ),
    ),
    Mutant(
        "credited_to_another_merchant",
        "Merchants are kept in memory by the wrong half of the chain's key, so that the first one gets all money.",
        (
            Edit(
                _SERVICE,
                "    merchant = known.merchants[known.terminals[taken.key[0]].merchant_id]\n",
                "    merchant = known.merchants[known.terminals[taken.key[0]].merchant_id]\n"
                "    merchant = _MERCHANTS.setdefault(taken.key[1], merchant)\n",
            ),
            Edit(
                _SERVICE,
                "_EVIDENCE_SIZE_MAX = 4096\n",
                '_EVIDENCE_SIZE_MAX = 4096\n_MERCHANTS: "dict[int, Merchant]" = {}\n',
            ),
        ),
    ),
    Mutant(
        "commission_taken_twice",
        "The commission is taken of the sale and once more of what is left of it, and booked as a fee both times.",
        (
            Edit(
                _ENTRIES,
                "    commission, net = covered.split_rate(rate_ppm=sale.commission_ppm)\n",
                "    commission, net = covered.split_rate(rate_ppm=sale.commission_ppm)\n"
                "    again, net = net.split_rate(rate_ppm=sale.commission_ppm)\n"
                "    commission = commission + again\n",
            ),
        ),
    ),
    Mutant(
        "drawn_on_another_wallet",
        "All sales of a transaction are drawn on the customer of the first of them, as long as its reserve lasts.",
        (
            Edit(
                _POSTING,
                "    for each in genuine:\n        entry, payment = _build(",
                "    first = genuine[0].verdict.grant\n"
                "    for each in genuine:\n"
                "        amount_minor = each.sale.record.content.amount_minor\n"
                "        if balances[entries.payer_offline(first.device_id, each.sale.record.content.currency)]"
                " >= amount_minor:\n"
                "            verdict = Postable(each.verdict.code, first, each.verdict.is_late)\n"
                "            each = _Genuine(each.sale, verdict, each.first)\n"
                "        entry, payment = _build(",
            ),
        ),
    ),
    Mutant(
        "reserve_not_drawn_first",
        "An offline sale is paid of available money first, and the reserve stays.",
        (
            Edit(
                _ENTRIES,
                "    from_reserve = min(amount, max(reserve, nothing))\n"
                "    from_available = min(amount - from_reserve, max(available, nothing))\n",
                "    from_available = min(amount, max(available, nothing))\n"
                "    from_reserve = min(amount - from_available, max(reserve, nothing))\n",
            ),
        ),
    ),
    Mutant(
        "reserve_released_at_renewal",
        "A renewed grant replaces the one before, whose reserve goes back to available money.",
        (
            Edit(
                _WALLETS,
                "    if plan.move_minor:\n        move = entries.reserve_moved(\n",
                "    if balances[offline]:\n"
                "        freed = entries.reserve_released(\n"
                '            f"renewal:{grant.serial.hex()}",\n'
                "            wallet_id=grant.wallet_id,\n"
                "            device_id=grant.device_id,\n"
                "            amount=Money(balances[offline], grant.currency),\n"
                "        )\n"
                "        post_or_raise(session, [freed], now_ms=case.now_ms)\n"
                "    if plan.move_minor:\n"
                "        move = entries.reserve_moved(\n",
            ),
        ),
    ),
    Mutant(
        "reserve_released_too_early",
        "A reserve is given back when its last grant ends, seven days before its last payment may come.",
        (
            Edit(
                _RESERVE,
                "    return expires_ms + RECORDS_ACCEPTED_MS\n",
                "    return expires_ms\n",
            ),
        ),
        node="tests/unit/cloud/test_reserve.py::test_nothing_of_a_grant_is_posted_seven_days_after_its_end",
        why_node="no world is as long as a grant lives",
    ),
    Mutant(
        "status_update_without_old_status",
        "A terminal's state is written over, whatever it is by now: a retired one comes back, a reason is lost.",
        (
            Edit(
                "cloud/fleet/store.py",
                "TERMINALS.update().where(is_meant, is_from).values(values)",
                "TERMINALS.update().where(is_meant).values(values)",
            ),
        ),
        node="tests/unit/cloud/test_fleet_api.py::test_an_operator_quarantines_and_lifts",
        why_node="no world retires a terminal or quarantines one twice",
    ),
    Mutant(
        "totals_not_guarded",
        "An account's total is written without asking whether it still is what was read, and read without a lock.",
        (
            Edit(
                _STORE,
                "guards=total, sets=total)",
                "guards=(), sets=total)",
            ),
            Edit(
                _STORE,
                "where(ACCOUNTS.c.id.in_(chunk)).order_by(ACCOUNTS.c.id).with_for_update()",
                "where(ACCOUNTS.c.id.in_(chunk)).order_by(ACCOUNTS.c.id)",
            ),
        ),
        node="tests/integration/test_ledger.py::test_eight_writers_on_hot_accounts_keep_every_cent",
        why_node="SQLite has one writer at a time",
    ),
)
