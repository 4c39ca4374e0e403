"""django-hordak posting payments, in a process of its own so that Django never enters ours.

``python -m tests.benchmarks.hordak_peer PORT DATABASE`` migrates an empty MariaDB database, prints ``ready``, and for
each number of payments on its standard input posts so many and prints the seconds that took. A payment is one
transaction with three legs (payer, merchant, our fee), posted as hordak's documentation shows, after a look whether
the payer has the money, which our ledger checks for each payment too. Django is
imported by name, since it is installed for this bench only.
"""

import json
import sys
import time
import warnings
from importlib import import_module
from typing import Any

import pymysql

PAYERS, MERCHANTS = 200, 25


def main(port: str, database: str) -> None:
    """Set up, then post as asked until the input ends."""
    _set_up(port, database)
    database_transaction, models = import_module("django.db.transaction"), import_module("hordak.models")
    Money = import_module("moneyed").Money  # noqa: N806 - a class.
    Account, Leg, Transaction = models.Account, models.Leg, models.Transaction  # noqa: N806 - classes.
    liability, asset = models.AccountType.liability, models.AccountType.asset

    def account(name: str) -> Any:
        return Account.objects.create(name=name, type=liability, currencies=["EUR"], code=None)

    payers = [account(f"payer {number}") for number in range(PAYERS)]
    merchants = [account(f"merchant {number}") for number in range(MERCHANTS)]
    fees = account("fees")
    clearing = Account.objects.create(name="clearing", type=asset, currencies=["EUR"], code=None)
    for payer in payers:
        with database_transaction.atomic():
            funding = Transaction.objects.create()
            Leg.objects.create(transaction=funding, account=clearing, debit=Money(100_000, "EUR"))
            Leg.objects.create(transaction=funding, account=payer, credit=Money(100_000, "EUR"))

    def pay(number: int) -> None:
        payer, merchant = payers[number % PAYERS], merchants[number % MERCHANTS]
        with database_transaction.atomic():
            Account.objects.select_for_update().get(pk=payer.pk)
            if payer.get_balance()["EUR"] < Money(10, "EUR"):
                raise RuntimeError("the payer has too little money for the bench")
            posted = Transaction.objects.create(description=f"payment {number}")
            Leg.objects.create(transaction=posted, account=payer, debit=Money("10.00", "EUR"))
            Leg.objects.create(transaction=posted, account=merchant, credit=Money("9.85", "EUR"))
            Leg.objects.create(transaction=posted, account=fees, credit=Money("0.15", "EUR"))

    print("ready", flush=True)
    for line in sys.stdin:
        began_s = time.perf_counter()
        for number in range(int(line)):
            pay(number)
        print(json.dumps(time.perf_counter() - began_s), flush=True)


def _set_up(port: str, database: str) -> None:
    # Both libraries warn of deprecations that are none of ours.
    warnings.simplefilter("ignore")
    pymysql.install_as_MySQLdb()
    settings = import_module("django.conf").settings
    settings.configure(
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.mysql",
                "HOST": "127.0.0.1",
                "PORT": int(port),
                "USER": "root",
                "NAME": database,
                "OPTIONS": {"charset": "utf8mb4", "isolation_level": "read committed"},
            }
        },
        INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "mptt", "hordak"],
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        SECRET_KEY="none is needed, as nothing is signed",
        USE_TZ=True,
        HORDAK_DECIMAL_PLACES=2,
    )
    import_module("django").setup()
    import_module("django.core.management").call_command("migrate", verbosity=0)


if __name__ == "__main__":
    main(*sys.argv[1:])
