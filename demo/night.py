"""The demo's night: a copied phone pays at two boxes out of contact, is found, proven and shut out.

The two boxes belong to two merchants and hear neither each other nor the cloud, so both take the same money: nothing
can prevent that offline. What the demo demands is that the loss keeps to the bound that was said beforehand, that the
double spend proves itself by its own signatures, and that no box takes the phone again.
"""

import secrets
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cloud.fleet.publishing import Limits
from cloud.keyring import read_root
from cloud.reconciliation.evidence_check import VerifiedPack, verify_pack
from cloud.reconciliation.evidence_facts import ProofKind
from cloud.reconciliation.exposure import bound_minor
from demo.clients import AnswerError, CloudClient
from demo.counter import Counter
from demo.day import DRAIN_TIMEOUT_S, Say, Seen, money
from demo.phone import Phone, PhoneRefusal, load_phone
from demo.promises import PromiseBrokenError, demand
from demo.world import CURRENCY, Customer
from sync.payment_code import PaymentCode

FUNDS_MINOR = 60_00
PAID_MINOR = 50_00
AGAIN_MINOR = 30_00
BEYOND_MINOR = 20_00
LOSS_MINOR = PAID_MINOR + AGAIN_MINOR + BEYOND_MINOR - FUNDS_MINOR
_CEILING_MINOR = Limits.of(CURRENCY).content.payer_sum_minor
_EXPECTED = {"double_spend": 1, "over_grant": 1}


@dataclass(slots=True)
class Night:
    """One copied phone at the counter of the day and at a second one."""

    cloud: CloudClient
    first: Counter
    second: Counter
    owner: Customer
    backup: bytes
    """The owner's phone as it was copied."""
    folder: Path
    root_key_file: Path
    seen: Seen
    say: Say
    settled_before: dict[str, int] = field(default_factory=dict)
    copies: int = 0
    shown_ms: int = 0

    def play(self) -> dict[str, Any]:
        """Play the scene; answers the cloud's reconciliation. Raises ``PromiseBrokenError``."""
        self.settled_before = outcomes_of(self.cloud.reconciliation())
        self.pay_twice()
        versions = self.networks_back()
        report = self.cloud.reconciliation()
        self.check_found(report)
        self.prove(report)
        self.shut_out(versions)
        return self.check_reconciled()

    def pay_twice(self) -> None:
        owner = self.owner.name
        self.say(f"[bold]Night[/]: {owner}'s phone has been copied, keys and all")
        for counter in (self.first, self.second):
            counter.cut_network()
        bound = bound_minor(ceilings_minor=2 * _CEILING_MINOR, reserve_minor=FUNDS_MINOR)
        self.say("  two boxes hear neither each other nor the cloud; a copy can cost at most")
        self.say(f"  2 × {money(_CEILING_MINOR)}, less its reserve of {money(FUNDS_MINOR)}: {money(bound)}")
        # Both phones are as they were copied, so at one moment both choose the same counter.
        now_ms = self.next_moment_ms()
        real, copied = show(self.owner.phone, now_ms), show(self.restored(), now_ms)
        demand(real.counter == copied.counter, "phone and copy, shown at one moment, have different counters")
        self.sell(self.first, f"{owner}'s phone", real, PAID_MINOR)
        self.sell(self.second, "its copy", copied, AGAIN_MINOR)
        self.sell(self.second, "copied again", show(self.restored(), self.next_moment_ms()), BEYOND_MINOR)
        self.refuse(self.second, "copied again", 1, "over_payer_one_way_sum")

    def networks_back(self) -> dict[str, int]:
        """Bring one box back after the other; answers which deny list each held."""
        self.say("  the networks are back, first here, then there")
        versions = {counter.shop: counter.trust_version() for counter in (self.first, self.second)}
        for counter in (self.first, self.second):
            counter.restore_network()
            counter.wait_until_sent(timeout_s=DRAIN_TIMEOUT_S)
        return versions

    def check_found(self, report: dict[str, Any]) -> None:
        found = outcomes_of(report)
        new = {name: count - self.settled_before.get(name, 0) for name, count in found.items()}
        demand(new == {"settled_from_reserve": 1} | _EXPECTED, f"the copy was not found as it should be: {new}")
        suspense_minor = sum(terminal["suspense_minor"] for terminal in report["terminals"])
        demand(suspense_minor == LOSS_MINOR, f"in suspense are {money(suspense_minor)}, not {money(LOSS_MINOR)}")
        demand(len(report["exposures"]) == 1, f"one grant was spent twice, the cloud says {report['exposures']}")
        (exposure,) = report["exposures"]
        demand(exposure["is_within"] and exposure["loss_minor"] == LOSS_MINOR, f"the loss is wrong: {exposure}")
        self.say("  found: double_spend, one counter signed twice; over_grant, beyond its cover")
        loss, most = money(exposure["loss_minor"]), money(exposure["bound_minor"])
        self.say(f"  it cost {loss}, in suspense and not payable; the bound was {most}")

    def prove(self, report: dict[str, Any]) -> None:
        """Fetch the evidence as an operator would, and verify it against the pinned root alone."""
        case = next(each for each in report["exceptions"] if each["kind"] == "other_content_same_counter")
        pack = self.cloud.evidence(case["terminal_id"], case["payment_id"])
        file = self.folder / "evidence" / f"double_spend_{case['payment_id'][:8]}.zip"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(pack)
        verified = verify_pack(file.read_bytes(), read_root(self.root_key_file))
        if not isinstance(verified, VerifiedPack):
            raise PromiseBrokenError(f"the evidence does not verify: {verified.refusal} ({verified.subject})")
        kinds = {proof.kind for proof in verified.facts.proofs}
        expected = {ProofKind.TWO_CONTENTS_ONE_COUNTER, ProofKind.MORE_THAN_THE_GRANT}
        demand(kinds == expected, f"the evidence proves {sorted(kinds)}")
        self.say(f"  evidence, verified under the root: {file.relative_to(self.folder)}")

    def shut_out(self, versions: dict[str, int]) -> None:
        for counter in (self.first, self.second):
            counter.wait_for_news(held_version=versions[counter.shop])
        self.say("  the key is denied, and both boxes have heard of it")
        for counter in (self.first, self.second):
            self.refuse(counter, "the copy", 5_00, "denied_payer")
        try:
            self.owner.link.get_grant()
        except AnswerError as error:
            demand(error.code == "device_denied", f"the phone got no grant, but for another reason: {error}")
        else:
            raise PromiseBrokenError("a convicted phone got a new grant")
        self.say("  and the cloud gives this phone no grant any more; a person binds another")

    def check_reconciled(self) -> dict[str, Any]:
        report = self.cloud.reconciliation()
        demand(bool(report["is_clean"]), f"reconciliation is not clean: {report['unexplained']}")
        demand(
            report["approved_minor"] == self.seen.approved_minor,
            f"people saw {money(self.seen.approved_minor)} approved, the cloud has {money(report['approved_minor'])}",
        )
        demand(all(terminal["is_complete"] for terminal in report["terminals"]), "a record is missing in the cloud")
        return report

    def sell(self, counter: Counter, who: str, code: PaymentCode, amount_minor: int) -> None:
        """One sale that an offline box must approve, because it cannot know better."""
        result = counter.sell(code.to_text(), amount_minor)
        demand(result["state"] == "approved", f"{who} was refused at {counter.shop}: {result.get('happened')}")
        self.seen.approved[result["payment_id"]] = amount_minor
        self.say(f"  {who:<12} {money(amount_minor):>10}   approved at {counter.shop}, counter {code.counter}")

    def refuse(self, counter: Counter, who: str, amount_minor: int, refusal: str) -> None:
        code = show(self.restored(), self.next_moment_ms())
        result = counter.sell(code.to_text(), amount_minor)
        demand(result.get("refusal") == refusal, f"{who} at {counter.shop}: expected {refusal}, got {result}")
        self.seen.refused.append(refusal)
        self.say(f"  {who:<12} {money(amount_minor):>10}   {refusal} at {counter.shop}")

    def next_moment_ms(self) -> int:
        """The time, at least two seconds after the last: a copy counts by seconds, so its next counter is another."""
        self.shown_ms = max(self.shown_ms + 2_000, time.time_ns() // 1_000_000)
        return self.shown_ms

    def restored(self) -> Phone:
        """The copy as it was made, without any memory of what it has shown since."""
        self.copies += 1
        path = self.folder / f"phone_copy_{self.copies}.json"
        path.write_bytes(self.backup)
        return load_phone(path, random_bytes=secrets.token_bytes)


def outcomes_of(report: dict[str, Any]) -> dict[str, int]:
    """How many payments of all terminals ended how."""
    found: dict[str, int] = {}
    for terminal in report["terminals"]:
        for name, count in terminal["outcomes"].items():
            found[name] = found.get(name, 0) + count
    return found


def show(phone: Phone, now_ms: int) -> PaymentCode:
    """Have a phone show a code."""
    code = phone.show_code(now_ms=now_ms)
    if isinstance(code, PhoneRefusal):
        raise PromiseBrokenError(f"the phone shows no code: {code}")
    return code
