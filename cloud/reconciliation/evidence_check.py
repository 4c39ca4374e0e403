"""Verifies an evidence pack against the pinned root and nothing else: no database, no network, no keys of the cloud.

Pure. First the file is what it says, then every signature holds, then the whole pack is built again from the signed
bytes and compared, last the cloud's own figures are held against them.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from cloud.reconciliation.evidence_claims import FORMAT, Claims, contradiction, decode_claims
from cloud.reconciliation.evidence_facts import EvidenceRefusal, Facts, Flaw, examine
from cloud.reconciliation.evidence_pack import CLAIMS_NAME, MANIFEST_NAME, build_files, from_zip, parts_of
from sync.keys import PublicKey


@dataclass(frozen=True, slots=True)
class VerifiedPack:
    """A pack in which everything holds: ``facts`` by signature, ``claims`` on the cloud's word."""

    facts: Facts
    claims: Claims


def verify_pack(data: bytes, root: PublicKey) -> VerifiedPack | Flaw:
    """Verify a pack under the pinned root; answers what it proves, or the first fault by name."""
    files = from_zip(data)
    if isinstance(files, Flaw):
        return files
    flaw = _check_manifest(files)
    if flaw is not None:
        return flaw
    claims = decode_claims(files[CLAIMS_NAME])
    if claims is None:
        return Flaw(EvidenceRefusal.CLAIMS_MALFORMED, CLAIMS_NAME)
    parts = parts_of(files)
    facts = examine(parts, root)
    if isinstance(facts, Flaw):
        return facts
    records = {sale.record.hash: sale.record.content for sale in facts.sales}
    if words := contradiction(claims, records):
        return Flaw(EvidenceRefusal.CLAIMS_CONTRADICT, words)
    return _compare(files, build_files(parts, facts, claims)) or VerifiedPack(facts, claims)


def _check_manifest(files: Mapping[str, bytes]) -> Flaw | None:
    """Hold every file against the manifest's hashes: that finds damage, while forgery is found by what follows."""
    for name in (MANIFEST_NAME, CLAIMS_NAME):
        if name not in files:
            return Flaw(EvidenceRefusal.FILE_MISSING, name)
    listed = _listed(files[MANIFEST_NAME])
    if listed is None:
        return Flaw(EvidenceRefusal.NOT_A_PACK, f"{MANIFEST_NAME} is not of {FORMAT}")
    present = files.keys() - {MANIFEST_NAME}
    for name in sorted(listed.keys() - present):
        return Flaw(EvidenceRefusal.FILE_MISSING, name)
    for name in sorted(present - listed.keys()):
        return Flaw(EvidenceRefusal.FILE_UNKNOWN, name)
    for name in sorted(present):
        if hashlib.sha256(files[name]).hexdigest() != listed[name]:
            return Flaw(EvidenceRefusal.FILE_CHANGED, name)
    return None


def _listed(manifest: bytes) -> dict[str, str] | None:
    """Return the hash of each file that the manifest lists; None where it is no manifest of this format."""
    try:
        content = json.loads(manifest)
        if content["format"] != FORMAT:
            return None
        return {str(name): str(entry["sha256"]) for name, entry in content["files"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _compare(files: Mapping[str, bytes], rebuilt: Mapping[str, bytes]) -> Flaw | None:
    for name in sorted(files.keys() | rebuilt.keys()):
        if files.get(name) != rebuilt.get(name):
            return Flaw(EvidenceRefusal.SAYS_OTHERWISE, name)
    return None
