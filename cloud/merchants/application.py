"""Somebody applies as a merchant: the merchant and its owner's login in one transaction, or neither.

The applicant may log in at once, to complete the profile and to read the answer; payments begin once an operator has
verified the merchant.
"""

from dataclasses import dataclass

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from cloud.db import run_transaction
from cloud.errors import DatabaseBusyError
from cloud.identity import login_service
from cloud.identity import store as login_store
from cloud.identity.lockout import Locked
from cloud.identity.mail_service import ask_for_mail
from cloud.identity.mails import MailPurpose
from cloud.identity.passwords import SecretRefusal
from cloud.identity.refusals import IdentityRefusal
from cloud.identity.service import Admitted, Identity
from cloud.identity.store import Login
from cloud.merchants import profile_store, store
from cloud.merchants.lifecycle import MerchantStatus
from cloud.merchants.profile import Profile
from cloud.merchants.store import Merchant
from cloud.permissions import Role, RoleHeld
from sync.clock import Clock
from sync.ids import MerchantId, RandomBytes


@dataclass(frozen=True, slots=True)
class Applicant:
    """A business as it describes itself, in the spelling that is stored, and its owner's login."""

    name: str
    category: str
    profile: Profile
    email: str
    password: str


@dataclass(frozen=True, slots=True)
class Applied:
    """A new merchant and its owner's login."""

    merchant_id: MerchantId
    login_id: str


@dataclass(frozen=True, slots=True)
class Applications:
    """Takes applications of merchants."""

    engine: Engine
    clock: Clock
    identity: Identity
    random_bytes: RandomBytes
    currency: str

    def apply(self, applicant: Applicant, *, address: str) -> Applied | SecretRefusal | IdentityRefusal | Locked:
        """Open merchant and login."""
        admitted = self.identity.admit(applicant.email, applicant.password, address=address)
        if not isinstance(admitted, Admitted):
            return admitted
        return self._open(applicant, admitted)

    def _open(self, applicant: Applicant, admitted: Admitted) -> Applied | IdentityRefusal:
        now_ms = self.clock.now_ms()
        login = Login(login_service.make_id("L", self.random_bytes), admitted.email, now_ms)
        merchant = Merchant(
            merchant_id=MerchantId(self.random_bytes(8)),
            name=applicant.name,
            category=applicant.category,
            currency=self.currency,
            created_at_ms=now_ms,
            status=MerchantStatus.APPLIED,
        )
        applied = Applied(merchant.merchant_id, login.login_id)
        roles = [RoleHeld(Role.OWNER, merchant.merchant_id.hex())]

        def work(session: Session) -> Applied | IdentityRefusal:
            made = login_service.create_login(session, login, roles=roles, password=admitted.password)
            if isinstance(made, IdentityRefusal):
                return made  # Nothing was written yet.
            if not store.insert_merchant(session, merchant):
                raise DatabaseBusyError("the id made for a new merchant is taken; nothing was done, try again")
            profile_store.write_profile(session, merchant.merchant_id, applicant.profile, now_ms=now_ms)
            ask_for_mail(session, MailPurpose.VERIFY_EMAIL, made.email, now_ms=now_ms, random_bytes=self.random_bytes)
            return applied

        def lookup(session: Session) -> Applied | None:
            return None if login_store.find_login(session, login.login_id) is None else applied

        return run_transaction(self.engine, work, lookup=lookup)
