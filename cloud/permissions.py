"""Roles, what each may do, and the person a request comes from.

One table says who may what; a route names the permission it needs and never a role. Every domain's routes name
permissions, so the words stand at the bottom of the cloud's layers, apart from how somebody proves who they are.
"""

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """What somebody is to us. A customer's scope is the wallet, staff's the merchant; operators have none."""

    CUSTOMER = "customer"
    OWNER = "owner"
    MANAGER = "manager"
    CASHIER = "cashier"
    ADMINISTRATOR = "administrator"
    SUPPORT = "support"
    FINANCE = "finance"
    FLEET = "fleet"


CUSTOMER_ROLES = frozenset({Role.CUSTOMER})
STAFF_ROLES = frozenset({Role.OWNER, Role.MANAGER, Role.CASHIER})
OPERATOR_ROLES = frozenset({Role.ADMINISTRATOR, Role.SUPPORT, Role.FINANCE, Role.FLEET})


class Permission(StrEnum):
    """What a route may ask for."""

    OWN_ACCOUNT = "own_account"
    OWN_WALLET = "own_wallet"
    TAKE_PAYMENTS = "take_payments"
    READ_SALES = "read_sales"
    REFUND_SALES = "refund_sales"
    MANAGE_MERCHANT = "manage_merchant"
    MANAGE_STAFF = "manage_staff"
    READ_CUSTOMERS = "read_customers"
    SUSPEND_LOGINS = "suspend_logins"
    DECIDE_CUSTOMERS = "decide_customers"
    DECIDE_MERCHANTS = "decide_merchants"
    DECIDE_DISPUTES = "decide_disputes"
    SET_COMMISSION = "set_commission"
    MANAGE_OPERATORS = "manage_operators"
    READ_BOOKS = "read_books"
    SETTLE = "settle"
    MANAGE_FLEET = "manage_fleet"


_CASHIER = frozenset({Permission.OWN_ACCOUNT, Permission.TAKE_PAYMENTS, Permission.READ_SALES})
_MANAGER = _CASHIER | {Permission.REFUND_SALES}

PERMISSIONS: dict[Role, frozenset[Permission]] = {
    Role.CUSTOMER: frozenset({Permission.OWN_ACCOUNT, Permission.OWN_WALLET}),
    Role.CASHIER: _CASHIER,
    Role.MANAGER: _MANAGER,
    Role.OWNER: _MANAGER | {Permission.MANAGE_MERCHANT, Permission.MANAGE_STAFF},
    Role.SUPPORT: frozenset(
        {
            Permission.OWN_ACCOUNT,
            Permission.READ_CUSTOMERS,
            Permission.SUSPEND_LOGINS,
            Permission.DECIDE_CUSTOMERS,
            Permission.DECIDE_MERCHANTS,
            Permission.DECIDE_DISPUTES,
        }
    ),
    Role.FINANCE: frozenset({Permission.OWN_ACCOUNT, Permission.READ_BOOKS, Permission.SETTLE}),
    Role.FLEET: frozenset({Permission.OWN_ACCOUNT, Permission.MANAGE_FLEET}),
    Role.ADMINISTRATOR: frozenset(
        {
            Permission.OWN_ACCOUNT,
            Permission.MANAGE_STAFF,
            Permission.READ_CUSTOMERS,
            Permission.SUSPEND_LOGINS,
            Permission.DECIDE_CUSTOMERS,
            Permission.DECIDE_MERCHANTS,
            Permission.DECIDE_DISPUTES,
            Permission.SET_COMMISSION,
            Permission.MANAGE_OPERATORS,
            Permission.READ_BOOKS,
            Permission.MANAGE_FLEET,
        }
    ),
}
"""Nobody pays with another's wallet, and whoever settles cannot make operators: no role may do everything."""


@dataclass(frozen=True, slots=True, order=True)
class RoleHeld:
    """A role of one login; ``scope`` is a wallet's id, a merchant's id in hexadecimal, or empty for operators."""

    role: Role
    scope: str = ""


class TokenKind(StrEnum):
    """How an access token travels: in a browser's cookie, or in an integration's header."""

    COOKIE = "cookie"
    BEARER = "bearer"


@dataclass(frozen=True, slots=True)
class SignedIn:
    """The person behind a request, as the database says at this moment."""

    login_id: str
    email: str
    roles: tuple[RoleHeld, ...]
    session_id: str
    kind: TokenKind
    expires_ms: int
    device_id: str | None = None
    is_email_verified: bool = False

    @property
    def permissions(self) -> frozenset[Permission]:
        """Return everything that one of the roles permits."""
        return frozenset().union(*(PERMISSIONS[held.role] for held in self.roles))

    def scopes(self, permission: Permission) -> frozenset[str]:
        """Return where the person has this permission: wallets, merchants, and ``""`` for everywhere."""
        return frozenset(held.scope for held in self.roles if permission in PERMISSIONS[held.role])
