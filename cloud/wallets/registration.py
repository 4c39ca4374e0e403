"""A customer registers: a login and a wallet in one transaction, or neither."""

from dataclasses import dataclass

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from cloud.db import run_transaction
from cloud.identity import login_service
from cloud.identity import store as login_store
from cloud.identity.lockout import Locked
from cloud.identity.mail_service import ask_for_mail
from cloud.identity.mails import MailPurpose
from cloud.identity.passwords import SecretRefusal
from cloud.identity.refusals import IdentityRefusal
from cloud.identity.service import Admitted, Identity
from cloud.identity.store import Login
from cloud.permissions import Role, RoleHeld
from cloud.wallets import customer_service
from cloud.wallets.customer_service import CustomerRefusal
from cloud.wallets.customer_store import Wallet
from sync.clock import Clock
from sync.ids import RandomBytes


@dataclass(frozen=True, slots=True)
class NewCustomer:
    """What somebody says of themselves."""

    name: str
    email: str
    phone: str
    password: str


@dataclass(frozen=True, slots=True)
class Registered:
    """A customer's new login and wallet."""

    login_id: str
    wallet_id: str


@dataclass(frozen=True, slots=True)
class Registration:
    """Opens accounts of customers; their identity is not verified yet, so they get no grant."""

    engine: Engine
    clock: Clock
    identity: Identity
    random_bytes: RandomBytes
    currency: str
    daily_limit_minor: int

    def register(
        self, customer: NewCustomer, *, address: str
    ) -> Registered | SecretRefusal | IdentityRefusal | CustomerRefusal | Locked:
        """Open login and wallet."""
        admitted = self.identity.admit(customer.email, customer.password, address=address)
        if not isinstance(admitted, Admitted):
            return admitted
        now_ms = self.clock.now_ms()
        login = Login(login_service.make_id("L", self.random_bytes), admitted.email, now_ms)
        wallet = Wallet(
            wallet_id=customer_service.make_wallet_id(self.random_bytes),
            name=customer.name,
            email=admitted.email,
            phone=customer.phone,
            currency=self.currency,
            daily_limit_minor=self.daily_limit_minor,
            created_at_ms=now_ms,
        )
        roles = [RoleHeld(Role.CUSTOMER, wallet.wallet_id)]

        def work(session: Session) -> Registered:
            opened = customer_service.open_wallet(session, wallet)
            if isinstance(opened, CustomerRefusal):
                raise _RefusedError(opened)
            made = login_service.create_login(session, login, roles=roles, password=admitted.password)
            if isinstance(made, IdentityRefusal):
                raise _RefusedError(made)
            ask_for_mail(session, MailPurpose.VERIFY_EMAIL, made.email, now_ms=now_ms, random_bytes=self.random_bytes)
            return Registered(login.login_id, wallet.wallet_id)

        def lookup(session: Session) -> Registered | None:
            known = login_store.find_login(session, login.login_id)
            return None if known is None else Registered(login.login_id, wallet.wallet_id)

        try:
            return run_transaction(self.engine, work, lookup=lookup)
        except _RefusedError as error:
            return error.refusal


class _RefusedError(Exception):
    """Undoes the transaction: a wallet without its login must not stay."""

    def __init__(self, refusal: CustomerRefusal | IdentityRefusal) -> None:
        self.refusal = refusal
