"""Bugs planted in the terminal: its card, its clock, its decision and what it believes of what it is sent."""

from tests.mutants.mutant import Edit, Mutant

_WRITER = "edge/outbox_writer.py"
_CHECK = "edge/outbox_check.py"
_SQLITE = "edge/outbox_sqlite.py"
_TIME = "edge/timekeeping.py"
_DECISION = "edge/decision.py"

BOX = (
    Mutant(
        "synchronous_normal",
        "The card is flushed at checkpoints only, “since WAL is safe anyway”.",
        (Edit(_SQLITE, '("synchronous", "FULL", 2)', '("synchronous", "NORMAL", 1)'),),
    ),
    Mutant(
        "prune_before_acknowledgement",
        "Housekeeping removes old records without asking whether the cloud holds them.",
        (
            Edit(
                _WRITER,
                "number <= (SELECT min(acknowledged_number, head_number - max(:keep_count, 1)) FROM state)",
                "number <= (SELECT head_number - max(:keep_count, 1) FROM state)",
            ),
        ),
    ),
    Mutant(
        "counter_not_persisted",
        "Which codes are spent is kept in memory, so that a restart forgets it.",
        (
            Edit(
                _WRITER,
                "        if is_spent and entry.kind == RecordKind.SALE:",
                "        if (entry.serial, entry.counter) in self._spent and entry.kind == RecordKind.SALE:",
            ),
            Edit(
                _WRITER,
                "            self._run(_MARK_SPENT, values)",
                "            self._spent.add((entry.serial, entry.counter))",
            ),
            Edit(
                _WRITER,
                "        self._stopped_by: OutboxError | None = None\n",
                "        self._stopped_by: OutboxError | None = None\n"
                "        self._spent: set[tuple[bytes, int]] = set()\n",
            ),
            Edit(
                _CHECK,
                '    (1, "a code of an unacknowledged sale is not marked as spent", _CODES_ARE_SPENT),\n',
                "",
            ),
        ),
    ),
    Mutant(
        "spent_mark_outside_append",
        "The code is marked as spent in a transaction of its own behind the append.",
        (
            Edit(
                _WRITER,
                "            outcome = self._append(sign())\n",
                "            appended.append(sign())\n            outcome = self._append(appended[-1])\n",
            ),
            Edit(
                _WRITER,
                "            return outcome\n\n        return self._write(body)\n\n    def open_sale(",
                "            return outcome\n\n"
                "        appended: list[OutboxEntry] = []\n"
                "        outcome = self._write(body)\n"
                "        if outcome is AppendOutcome.APPENDED and appended[-1].serial:\n"
                "            self._write(lambda: self._run(_MARK_SPENT, _values_of(appended[-1])))\n"
                "        return outcome\n\n"
                "    def open_sale(",
            ),
            Edit(_WRITER, "        if entry.serial:\n            self._run(_MARK_SPENT, values)\n", ""),
        ),
    ),
    Mutant(
        "approved_before_append",
        "The customer is told yes when the record is signed, before the card has it.",
        (
            Edit(
                "edge/authorise.py",
                "        return entry_of(products.record, code)\n",
                "        products.receipt_text = receipt_to_text(self._signer.sign_receipt(products.record, code))\n"
                "        return entry_of(products.record, code)\n",
            ),
        ),
    ),
    Mutant(
        "failed_commit_taken_for_done",
        "A COMMIT on the card that reports a failure is logged and passed over.",
        (
            Edit(
                _WRITER,
                "                raise self._stopped_by from error\n            raise\n",
                "                raise self._stopped_by from error\n",
            ),
        ),
    ),
    Mutant(
        "retry_without_lookup",
        "A COMMIT that reports a failure is taken for undone without looking.",
        (
            Edit(
                _WRITER,
                '                if self._one("SELECT revision FROM state", ())[0] == revision:\n'
                "                    return\n",
                "",
            ),
        ),
        node="tests/unit/edge/test_outbox_failures.py::test_a_commit_that_reported_a_failure_but_happened_counts",
        why_node="a sale that was posted though its display failed is excused by power cuts",
    ),
    Mutant(
        "unacknowledged_sum_kept",
        "An acknowledgement does not take what it covers off the sum that may be outstanding.",
        (
            Edit(
                _WRITER,
                "        SELECT coalesce(sum(amount_minor), 0) FROM sales"
                " WHERE number > acknowledged_number AND number <= :number),",
                "        SELECT coalesce(sum(amount_minor), 0) FROM sales WHERE number = :number),",
            ),
        ),
    ),
    Mutant(
        "clock_trusted",
        "The box takes the system's clock at start for right, whatever it says.",
        (
            Edit(
                _TIME,
                "    is_small_step = 0 <= start.system_ms - start.floor_ms <= JUMP_MS_MAX\n"
                "    time_ms = start.system_ms if is_small_step else start.floor_ms\n"
                "    return Anchor(time_ms, start.boot_clock_ms, False, None)\n",
                "    return Anchor(start.system_ms, start.boot_clock_ms, True, None)\n",
            ),
        ),
        node="tests/unit/edge/test_timekeeping.py::test_a_cold_start_believes_this_much",
        why_node="codes bear the phone's time, so that a wrong clock refuses sales and loses none",
    ),
    Mutant(
        "stale_code_accepted",
        "The box does not look at a code's age, “the cloud does that anyway”.",
        (Edit(_DECISION, "    check_freshness,\n", ""),),
    ),
    Mutant(
        "amount_over_ceiling",
        "The box does not compare an amount with the ceiling of one payment.",
        (Edit(_DECISION, "    check_one_payment,\n", ""),),
    ),
    Mutant(
        "payer_sum_not_checked",
        "A payer's sum since contact is not compared with its ceiling, so that one sale can be split.",
        (Edit(_DECISION, "    check_payer_sums,\n", ""),),
    ),
    Mutant(
        "unacknowledged_not_checked",
        "The box goes on selling past what may be unacknowledged.",
        (Edit(_DECISION, "    check_unacknowledged,\n", ""),),
        node="tests/unit/edge/test_decision.py::test_what_one_check_refuses_is_never_approved",
        why_node="people in a world do not see this ceiling",
    ),
    Mutant(
        "quarantine_ignored",
        "A box that knows it was rolled back or copied goes on approving.",
        (Edit(_DECISION, "    check_box,\n", ""),),
    ),
    Mutant(
        "older_deny_list_accepted",
        "A trust snapshot that comes late replaces the newer one, and its deny list with it.",
        (
            Edit(
                "edge/trust.py",
                "newer = open_snapshot(encoded, self._root, held_version=self.held.version, now_ms=now_ms)",
                "newer = open_snapshot(encoded, self._root, held_version=0, now_ms=now_ms)",
            ),
        ),
        node="tests/unit/edge/test_trust.py::test_only_a_snapshot_that_is_not_older_and_not_over_is_taken",
        why_node="what it costs stays within the bound of a world",
    ),
    Mutant(
        "payment_id_made_anew",
        "The record gets a payment id of its own instead of the sale's.",
        (
            Edit(
                "edge/signer.py",
                "            kind=RecordKind.SALE,\n            payment_id=sale.payment_id,\n",
                "            kind=RecordKind.SALE,\n            payment_id=PaymentId(chain.head_hash[:16]),\n",
            ),
        ),
    ),
)
