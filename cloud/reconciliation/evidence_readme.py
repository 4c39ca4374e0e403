"""The page in plain words at the top of an evidence pack. Pure; a part of the format, which changes with it only."""

from cloud.reconciliation.evidence_facts import Facts, Proof, ProofKind, SaleFact
from sync.money import Money

_HOW = """
WHAT LIES HERE
  claims.json      what only the cloud says: outcomes, postings, denials. Signed by nobody
  manifest.json    what follows from the signed bytes, in figures, and the SHA-256 of every other file
  records/         the sales as their terminals signed them, in the order in which they were received
  codes/           the payment code inside each record, as the phone showed it
  grants/          what the cloud had granted to the phone's key
  certificates/    whose key each terminal's is; roles/: the keys that sign certificates and grants, under the root
  returns/         the phone's signed last word on a grant, where there is one
  cose/            the same messages as COSE_Sign1 (RFC 9052), for any tool that knows COSE; cose/keys/ holds the
                   public keys as COSE_Key, cose/index.json says which key and which external_aad belong to which file

HOW TO VERIFY IT WITH OUR SOFTWARE
  tillbox cloud verify-evidence FILE --root-key ROOT.PUB
  ROOT.PUB is the root's public key as every terminal pins it. Take it from there, never from this file: whoever made
  a false pack would have put a false root into it.

HOW TO VERIFY IT WITHOUT OUR SOFTWARE
  Any COSE library will do. In Python, with pycose and nothing of ours, in the folder where this was unpacked:

---8<---
import json
from pathlib import Path
import cbor2
from pycose.keys import CoseKey
from pycose.messages import Sign1Message

for entry in json.loads(Path("cose/index.json").read_text()):
    untagged = Path(entry["file"]).read_bytes()[1:]  # pycose 1 cannot read the tag with cbor2 6
    message = Sign1Message.from_cose_obj(cbor2.loads(untagged), True)
    message.key = CoseKey.decode(Path(entry["key"]).read_bytes())
    message.external_aad = entry["external_aad"].encode()
    print("holds" if message.verify_signature() else "DOES NOT HOLD", entry["file"], "signed by", entry["signed_by"])
--->8---

  Then look at what was signed: every payload is CBOR (RFC 8949). A phone signs
  [1, mode, SHA-256 of the grant's payload, time_s, counter, challenge]. Two such payloads of one grant with the same
  counter and any difference besides were both signed by that phone's key: it has spent one counter twice.
  A terminal signs the record, which holds the whole code, the amount and the time. docs/wire_format.md of the
  project says what stands at each place of each message.

WHAT IS NOT HERE
  No name, no telephone number, no account of the payer: the payer is the serial of a grant, which the cloud's
  operator alone can tie to a wallet. No balance of anybody, no private key, no PIN. The records themselves hold what
  the terminal had taken of this payer and had not sent before the sale, because that is part of what it signed.
"""


def readme(facts: Facts) -> bytes:
    """Return the page: what happened in this case, what is proven, and how to verify it."""
    lines = ["EVIDENCE OF A PAYMENT TAKEN WITHOUT NETWORK (format tillbox-evidence/1)", ""]
    lines += ["WHAT IS PROVEN BY SIGNATURES ALONE"]
    lines += [f"  - {_proof(proof)}" for proof in facts.proofs] or [
        "  Who signed which sale, and nothing against a phone."
    ]
    lines += ["", "THE SALES"]
    lines += [f"  {place:>3}  {_sale(sale)}" for place, sale in enumerate(facts.sales, start=1)]
    lines += ["", f"THE ROOT everything stands under: {facts.root.raw.hex()}"]
    return ("\n".join(lines) + "\n" + _HOW).encode()


def summary(facts: Facts) -> list[str]:
    """Return what is proven and who sold what, a line each."""
    proofs = [f"Proven: {_proof(proof)}." for proof in facts.proofs]
    sales = [f"Signed, {place}: {_sale(sale)}." for place, sale in enumerate(facts.sales, start=1)]
    return [*(proofs or ["Nothing is proven against a phone by signatures alone."]), *sales]


def _proof(proof: Proof) -> str:
    records = " and ".join(str(place) for place in proof.records)
    serial = proof.serial.hex()
    match proof.kind:
        case ProofKind.TWO_CONTENTS_ONE_COUNTER:
            return f"the key of grant {serial} signed different payments under one counter, {proof.counter}: {records}"
        case ProofKind.MORE_THAN_THE_GRANT:
            allowed, total = _amount(proof.allowed_minor), _amount(proof.sum_minor)
            return f"the key of grant {serial} signed away {total} of the {allowed} it was granted: {records}"
        case ProofKind.ONE_CODE_TWICE:
            return f"one code of grant {serial}, counter {proof.counter}, stands in several sales: {records}"
        case ProofKind.COUNTER_AFTER_RETURN:
            return f"the key of grant {serial} signed its last counter and then {proof.counter}: {records}"


def _sale(sale: SaleFact) -> str:
    record, box = sale.record.content, sale.certificate.content
    amount = Money(record.amount_minor, record.currency)
    code = "no readable code" if sale.code is None else f"grant {sale.code.serial.hex()} counter {sale.code.counter}"
    verdict = "" if sale.is_genuine else f" - the code is NOT genuine: {sale.verdict}"
    where = f"terminal {record.terminal_id.hex()} ({box.name}), record {record.number} of chain {record.epoch}"
    return f"{amount} at {where}, {code}{verdict}"


def _amount(amount_minor: int | None) -> str:
    whole, cents = divmod(amount_minor or 0, 100)
    return f"{whole}.{cents:02}"
