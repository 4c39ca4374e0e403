"""Bugs planted in the cloud's way in: the worker, its transactions, ingest and the judgement of each sale."""

from tests.mutants.mutant import Edit, Mutant

_WORKER = "cloud/worker.py"
_SERVICE = "cloud/ingest/service.py"
_POSTING = "cloud/ingest/posting.py"
_PAYMENTS = "cloud/payments/claim_store.py"
_JUDGEMENT = "cloud/ingest/judgement.py"
_TRANSACTION = "cloud/db/transaction.py"

CLOUD = (
    Mutant(
        "acknowledge_before_commit",
        "The box is answered and the message taken off the broker as soon as it is read, and the COMMIT comes behind.",
        (
            Edit(
                _WORKER,
                "        replies = await self._commit(wanted.batches",
                "        for message in received:\n"
                "            message.acknowledge()\n"
                "        replies = await self._commit(wanted.batches",
            ),
            Edit(
                _WORKER,
                "        await welcoming\n        for message in received:\n            message.acknowledge()\n",
                "        await welcoming\n",
            ),
            Edit(
                "cloud/posting_process.py",
                "        return await self._cloud.run(lambda session: _take_in(self._cloud, session, batches))\n",
                "        loop = asyncio.get_running_loop()\n"
                "        answers: asyncio.Future[list[Reply]] = loop.create_future()\n\n"
                "        def work(session: Session) -> list[Reply]:\n"
                "            replies = _take_in(self._cloud, session, batches)\n"
                "            loop.call_soon_threadsafe(answers.set_result, replies)\n"
                "            return replies\n\n"
                "        self._behind = asyncio.ensure_future(self._cloud.run(work))\n"
                "        return await answers\n",
            ),
        ),
        node="tests/mutants/test_order_of_answers.py::test_nothing_is_answered_or_taken_off_the_broker_before_the_commit",
        why_node="a box sends again what the cloud turns out to lack",
    ),
    Mutant(
        "lane_closed_before_commit",
        "A terminal's messages count as done when their transaction begins, so that the next may go into another lane.",
        (
            Edit(
                _WORKER,
                "                answering.append(await self._take(received, lane.committer, tasks))\n"
                "                lane.close(received)\n",
                "                lane.close(received)\n"
                "                answering.append(await self._take(received, lane.committer, tasks))\n",
            ),
        ),
        node="tests/integration/test_worker.py::"
        "test_what_one_terminal_sends_is_never_in_two_lanes_and_others_are_spread_over_them",
        why_node="the chain's lock puts two lanes in order, and what comes out of order is posted all the same",
    ),
    Mutant(
        "lost_commit_taken_for_done",
        "A COMMIT during which the connection fell is taken for done.",
        (
            Edit(
                _TRANSACTION,
                "            if _fault_of(error) is _Fault.LOST:\n"
                "                raise _CommitLostError(error) from error\n",
                "            if _fault_of(error) is _Fault.LOST:\n                return answer\n",
            ),
        ),
        node="tests/integration/test_ledger.py::test_a_commit_that_never_arrived_is_done_again",
        why_node="a box sends again what the cloud turns out to lack",
    ),
    Mutant(
        "dedupe_off",
        "A record that is held already is taken again: in the chain, by its payment id and in the journal.",
        (
            Edit(
                "sync/receiver.py",
                "    new = {message.hash: held_from(message) for message in own if message.hash not in known}\n",
                "    new = {message.hash: held_from(message) for message in own}\n",
            ),
            Edit(
                _PAYMENTS,
                '    return insert_new(session, TERMINAL_PAYMENTS, rows, key=("terminal_id", "payment_id"))\n',
                '    insert_new(session, TERMINAL_PAYMENTS, rows, key=("terminal_id", "payment_id"))\n'
                "    return [True for _ in rows]\n",
            ),
            Edit(
                _POSTING,
                "        return entries.replayed_sale(sale), payment\n",
                '        again = f"again:{now_ms}:{record.payment_id.hex()}"\n'
                "        sale = Sale(again, amount, merchant.merchant_id, merchant.commission_ppm)\n"
                "        return entries.replayed_sale(sale), payment\n",
            ),
        ),
    ),
    Mutant(
        "serial_counter_not_unique",
        "A code counts as new for each record that carries it.",
        (
            Edit(
                _PAYMENTS,
                '    is_new = insert_new(session, SPENT_CODES, rows, key=("serial", "counter"))\n',
                '    insert_new(session, SPENT_CODES, rows, key=("serial", "counter"))\n'
                "    is_new = [True for _ in codes]\n",
            ),
        ),
    ),
    Mutant(
        "cache_taken_for_truth",
        "Spent codes are also kept in the process's memory, and that memory is asked first.",
        (
            Edit(
                _PAYMENTS,
                "    taken = {(code.serial, code.counter)"
                " for code, new in zip(codes, is_new, strict=True) if not new}\n"
                "    first = spent_codes(session, taken)\n",
                "    is_new = [new and (c.serial, c.counter) not in _SEEN for c, new in zip(codes, is_new)]\n"
                "    _SEEN.update({(code.serial, code.counter): code for code, new in zip(codes, is_new) if new})\n"
                "    first = _SEEN\n",
            ),
            Edit(
                _PAYMENTS,
                "SpentKey = tuple[Serial, int]\n",
                'SpentKey = tuple[Serial, int]\n_SEEN: "dict[SpentKey, SpentCode]" = {}\n',
            ),
        ),
    ),
    Mutant(
        "forked_branch_not_posted",
        "The sales of a chain's second branch are kept as evidence and not posted.",
        (
            Edit(
                _SERVICE,
                "_KEPT = frozenset({Verdict.ACCEPTED, Verdict.FLOATING, Verdict.FORKED, Verdict.RECOVERED_LATER})",
                "_KEPT = frozenset({Verdict.ACCEPTED, Verdict.FLOATING, Verdict.RECOVERED_LATER})",
            ),
        ),
        seeds_max=80,
    ),
    Mutant(
        "late_denial_blamed_on_merchant",
        "A denied payer's sale is refused though the box could not know of the denial.",
        (
            Edit(
                _JUDGEMENT,
                "    if denied_since is not None and denied_since <= record.snapshot_version:\n",
                "    if denied_since is not None:\n",
            ),
        ),
    ),
    Mutant(
        "judged_by_the_newest_policy",
        "The cloud judges a sale by the ceilings of now, not by those the box had been sent.",
        (
            Edit(
                _POSTING,
                "    if policy is None or not policy.issued_ms - CLOCK_TOLERANCE_MS"
                " <= record.authorised_at_ms < policy.expires_ms:\n"
                "        return newest\n"
                "    return Rules.of(policy)\n",
                "    return newest\n",
            ),
        ),
        seeds_max=80,
    ),
    Mutant(
        "replay_taken_for_double_spend",
        "The same signed code at two boxes draws on the payer twice and convicts an honest phone.",
        (
            Edit(
                _POSTING,
                "    if each.first is not None and each.first.content_hash == content_hash(each.verdict.code):\n",
                "    if each.first is not None and each.first.content_hash != content_hash(each.verdict.code):\n",
            ),
        ),
    ),
    Mutant(
        "double_spender_not_denied",
        "A double spend opens its exception, and the key stays good.",
        (
            Edit(
                _POSTING,
                "    if convicted:\n",
                "    if convicted and not firsts:\n",
            ),
        ),
    ),
    Mutant(
        "rollback_not_kept",
        "That a box was rolled back is answered once and not stored.",
        (
            Edit(
                _SERVICE,
                "        chain_store.save_flags(session, key, is_forked=greeted.is_forked,"
                " is_rolled_back=greeted.is_rolled_back)\n"
                '        reason = "forked" if greeted.is_forked else "rolled_back"\n'
                "        _quarantine(session, key, known, reason, subject=opened.hash, now_ms=now_ms)\n",
                "        pass\n",
            ),
        ),
    ),
    Mutant(
        "bad_record_holds_up_others",
        "Behind a record that cannot be read the rest of its batch is not looked at.",
        (
            Edit(
                _SERVICE,
                "                set_aside.append(_aside(message.terminal_id, judged.reason, encoded))\n"
                "                continue\n",
                "                set_aside.append(_aside(message.terminal_id, judged.reason, encoded))\n"
                "                break\n",
            ),
        ),
        node="tests/integration/test_ingest.py::test_garbage_inside_a_batch_is_set_aside_and_holds_up_nothing",
        why_node="a batch that comes again heals it",
    ),
    Mutant(
        "floating_not_posted",
        "Sales behind a gap wait for it to close instead of being posted, and are forgotten.",
        (
            Edit(
                _SERVICE,
                "(judged.record for judged in taken.kept)",
                "(judged.record for judged in taken.kept if judged.branch is not None)",
            ),
        ),
        seeds_max=80,
    ),
)
