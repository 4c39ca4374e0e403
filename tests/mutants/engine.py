"""Bugs planted in the sync engine that both ends share: what is sent again, believed, acknowledged and closed."""

from tests.mutants.mutant import Edit, Mutant

_BELIEF = "sync/upload_belief.py"
_TREE = "sync/chain_tree.py"

ENGINE = (
    Mutant(
        "gap_accepted",
        "A record whose predecessor is missing is put at the end of the chain all the same.",
        (
            Edit(
                _TREE,
                "        parent = self.by_hash.get(held.previous_hash)\n",
                "        parent = self.by_hash.get(held.previous_hash)\n"
                "        main = self.branches[MAIN_BRANCH]\n"
                "        if parent is None and len(self.branches) == 1 and held.number > main.tip_number + 1:\n"
                "            self._extend(main, held)\n"
                "            return True\n",
            ),
        ),
        seeds_max=80,
    ),
    Mutant(
        "rollback_accepted",
        "A box whose cloud knows more of its chain than it does itself takes that for the cloud's matter.",
        (
            Edit(
                _BELIEF,
                "        return QuarantineReason.ROLLED_BACK if ack.number > chain.head_number else None\n",
                "        return None\n",
            ),
        ),
    ),
    Mutant(
        "head_hash_not_compared",
        "The box compares the acknowledged number with its own, and not the hash under it.",
        (
            Edit(
                _BELIEF,
                "    return QuarantineReason.FORKED if event.own_hash != ack.head_hash else None\n",
                "    return None\n",
            ),
        ),
        seeds_max=80,
    ),
    Mutant(
        "copied_card_not_stopped",
        "A box whose card goes on elsewhere, too, sends its own way of the chain and goes on approving.",
        (
            Edit(
                _BELIEF,
                "    return QuarantineReason.FORKED if event.own_hash != ack.head_hash else None\n",
                "    return None\n",
            ),
            Edit(
                _BELIEF,
                "        case AckStatus.FORKED:\n            return QuarantineReason.FORKED\n",
                "        case AckStatus.FORKED:\n            return None\n",
            ),
        ),
    ),
    Mutant(
        "nonce_not_compared",
        "Any acknowledgement of this chain counts, also one that answers nothing outstanding.",
        (
            Edit(
                _BELIEF,
                "    return next((sent for sent in outstanding if sent.nonce == ack.nonce),"
                " IgnoredReason.UNKNOWN_NONCE)\n",
                "    return next(iter(outstanding), IgnoredReason.UNKNOWN_NONCE)\n",
            ),
        ),
    ),
    Mutant(
        "lost_closes_too_much",
        "A record of lost numbers closes everything between the last one held and itself.",
        (
            Edit(
                "sync/chain.py",
                "    return (first, last) if 1 <= first <= last < record.number else None\n",
                "    return (1, record.number - 1) if 1 <= first <= last < record.number else None\n",
            ),
        ),
        node="tests/unit/sync/test_receiver.py::test_a_lost_record_that_comes_first_closes_the_gap_once_the_record_behind_it_is_there",
        why_node="cards in a world stop their box before a number is lost",
    ),
)
