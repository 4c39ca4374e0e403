"""The day the demo plays, step by step, and its own count of what people saw.

The count knows nothing of cloud or ledger: it adds up what the box's display said. At the end both are compared.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from demo.clients import CloudClient
from demo.counter import Counter
from demo.phone import PhoneRefusal
from demo.promises import PromiseBrokenError
from demo.world import Customer
from sync.keys import Ed25519SigningKey
from sync.money import Money
from sync.payment_code import PaymentCode, make_payment_code

DRAIN_TIMEOUT_S = 60.0

Say = Callable[[str], None]


@dataclass(slots=True)
class Seen:
    """What people saw on the box's display: approved amounts in minor units, and refusals by name."""

    approved: dict[str, int] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)

    @property
    def approved_minor(self) -> int:
        return sum(self.approved.values())


@dataclass(slots=True)
class Day:
    """One day at one box."""

    cloud: CloudClient
    counter: Counter
    customers: dict[str, Customer]
    say: Say
    seen: Seen = field(default_factory=Seen)
    last_text: str = ""

    def play(self) -> dict[str, Any]:
        """Play the whole day; answers the cloud's reconciliation. Raises ``PromiseBrokenError``."""
        self.online()
        self.lose_a_phone()
        self.offline()
        self.refusals()
        self.killed()
        return self.network_back()

    def online(self) -> None:
        self.say("[bold]Morning[/]: the network is up")
        self.sale("Ana", 12_50)
        self.sale("Ben", 8_00)
        self.sale("Chloe", 23_90)
        self.counter.wait_until_sent(timeout_s=DRAIN_TIMEOUT_S)
        self.say("  all three acknowledged by the cloud: green on the display")

    def lose_a_phone(self) -> None:
        lost = self.customers["Dan"]
        before = self.counter.trust_version()
        self.cloud.post(f"/v1/operator/devices/{lost.device_id}/lost")
        self.say("  Dan reports his phone as lost; the deny list goes out to the box")
        self.counter.wait_for_news(held_version=before)

    def offline(self) -> None:
        self.counter.cut_network()
        self.say("[bold]Noon[/]: the network is cut; the box goes on alone")
        for name, amount_minor in (("Ana", 18_00), ("Ben", 30_00), ("Chloe", 4_20), ("Eve", 49_99)):
            self.sale(name, amount_minor)
        room = self.counter.box()["room"]
        self.say(f"  may still approve {room['amount']} in {room['count']} sales for {room['seconds'] // 3600} h")

    def refusals(self) -> None:
        self.say("  what the box refuses, and why")
        ana, ben, eve, dan = (self.customers[name] for name in ("Ana", "Ben", "Eve", "Dan"))
        self.refuse("split sale", self.code(ben), 30_00, "over_payer_one_way_sum")
        self.refuse("over the ceiling", self.code(ana), 50_01, "over_one_way_limit")
        self.refuse("expired code", self.old_code(ana), 5_00, "code_expired")
        self.refuse("replayed code", self.last_text, 5_00, "replayed_here")
        self.refuse("forged code", forged(self.code(eve)), 5_00, "device_signature_invalid")
        self.refuse("denied payer", self.code(dan), 5_00, "denied_payer")

    def killed(self) -> None:
        self.say("[bold]Afternoon[/]: the box loses power in the middle of a sale (SIGKILL)")
        held = self.counter.box()["head_number"]
        code = self.code(self.customers["Frank"])
        self.counter.till.start_sale(15_00)
        self.counter.show(code.to_text())
        time.sleep(0.15)
        self.counter.kill()
        self.counter.show("")
        self.counter.start()
        head = self.counter.box()["head_number"]
        if head < held:
            raise PromiseBrokenError(f"the box forgot records: {held} before the power cut, {head} after")
        self.take_over_unseen(held, head)
        self.say(f"  started cold without network: {head} records on the card, clock {self.counter.box()['clock']}")
        self.sale("Gina", 7_77)
        self.sale("Chloe", 11_00)

    def network_back(self) -> dict[str, Any]:
        waiting = self.counter.box()["queue"]
        self.say(f"[bold]Evening[/]: the network is back; {waiting['count']} sales, {waiting['amount']} are waiting")
        self.counter.restore_network()
        self.counter.wait_until_sent(timeout_s=DRAIN_TIMEOUT_S)
        self.say("  backlog sent and acknowledged")
        report = self.cloud.reconciliation()
        self.check(report)
        return report

    def check(self, report: dict[str, Any]) -> None:
        """Compare what people saw with what the cloud says; every promise that is broken is named."""
        if report["approved_minor"] != self.seen.approved_minor:
            raise PromiseBrokenError(
                f"people saw {money(self.seen.approved_minor)} approved, the cloud has "
                f"{money(report['approved_minor'])}"
            )
        if not report["is_clean"]:
            raise PromiseBrokenError(
                f"reconciliation is not clean: {report['unexplained'] or report['ledger_findings']}"
            )
        if not all(terminal["is_complete"] for terminal in report["terminals"]):
            raise PromiseBrokenError("a record is missing in the cloud")
        outcomes = {name for terminal in report["terminals"] for name in terminal["outcomes"]}
        if outcomes != {"settled_from_reserve"}:
            raise PromiseBrokenError(f"an honest payment had no cover: {outcomes}")

    def sale(self, name: str, amount_minor: int) -> None:
        """One honest sale that must be approved."""
        result = self.run_sale(self.code(self.customers[name]).to_text(), amount_minor)
        if result["state"] != "approved":
            raise PromiseBrokenError(f"{name}'s {money(amount_minor)} was refused: {result.get('happened')}")
        self.seen.approved[result["payment_id"]] = amount_minor
        self.say(f"  {name:<6} {money(amount_minor):>10}   approved")

    def refuse(self, what: str, code: PaymentCode | str, amount_minor: int, refusal: str) -> None:
        """One sale that must be refused for this reason."""
        result = self.run_sale(code if isinstance(code, str) else code.to_text(), amount_minor)
        if result.get("refusal") != refusal:
            raise PromiseBrokenError(f"{what}: expected {refusal}, the box said {result}")
        self.seen.refused.append(refusal)
        self.say(f"  {what:<17} {money(amount_minor):>10}   {refusal}: {result['happened']}")

    def run_sale(self, text: str, amount_minor: int) -> dict[str, Any]:
        """One sale from typing the amount to taking the phone away."""
        result = self.counter.sell(text, amount_minor)
        if result["state"] == "approved":
            self.last_text = text
        return result

    def code(self, customer: Customer) -> PaymentCode:
        code = customer.phone.show_code(now_ms=time.time_ns() // 1_000_000)
        if isinstance(code, PhoneRefusal):
            raise PromiseBrokenError(f"{customer.name}'s phone shows no code: {code}")
        return code

    def old_code(self, customer: Customer) -> PaymentCode:
        """A code that was shown two minutes ago, as a photograph of it would be."""
        held = customer.phone.grants[-1]
        then_s = time.time_ns() // 1_000_000_000 - 120
        return make_payment_code(
            held.message, held.device_key, time_s=then_s, counter=held.last_counter + 1, challenge=bytes(8)
        )

    def take_over_unseen(self, held: int, head: int) -> None:
        """A sale that the power cut hit may be on the card although nobody saw its result: then it counts."""
        if head > held:
            for sale in self.counter.till.history()["sales"]:
                if sale["number"] > held:
                    self.seen.approved[sale["payment_id"]] = sale["amount_minor"]
                    self.say(f"  the sale in flight, {sale['amount']}, had been stored: it stands")


def forged(code: PaymentCode) -> PaymentCode:
    """The same code signed by somebody else."""
    thief = Ed25519SigningKey.generate()
    return replace(code, signature=thief.sign(code.signed_payload()))


def money(amount_minor: int) -> str:
    """Return an amount of the demo's currency in words."""
    return str(Money(amount_minor, "EUR"))
