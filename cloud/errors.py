"""The cloud's operating failures and broken invariants, each with a stable ``code``.

What a customer or a terminal did wrong is a value of an enum and never stands here. The tree::

    CloudError
    ├── DatabaseError
    │   ├── DatabaseAwayError          database_away            no connection, or it was lost and stayed lost
    │   ├── DatabaseBusyError          database_busy            deadlocks or lock waits outlasted the retries
    │   ├── CommitUnknownError         commit_unknown           the connection fell during COMMIT, nothing to look up
    │   ├── DatabaseNotDurableError    database_not_durable     a durability setting was not taken
    │   └── DatabaseNotSupportedError  database_not_supported   an address of no database we keep money in
    ├── ProviderError
    │   ├── ProviderAwayError          provider_away            the top-up provider did not answer
    │   └── ProviderSetupError         provider_not_set_up      settings of the top-up provider that cannot work
    ├── SignInBusyError                sign_in_busy            more people sign in at once than are served
    ├── EntryError                     unbalanced_entry, …      a journal entry that must never be built
    └── LedgerInvariantError           ledger_invariant_broken  books and rows disagree: stop, ask a person
"""

from collections.abc import Callable


class CloudError(Exception):
    """Whatever the cloud raises on purpose; ``code`` is stable, the text is for a person."""

    code = "cloud_error"

    def __reduce__(self) -> tuple[Callable[..., "CloudError"], tuple[object, ...]]:
        # One that comes back from a posting process is not built anew: not every kind is, by its text alone.
        return _came_back, (type(self), self.args, self.__dict__)


def _came_back(kind: type[CloudError], args: tuple[object, ...], attributes: dict[str, object]) -> CloudError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(attributes)
    return error


class DatabaseError(CloudError):
    """The database did not do its part."""

    code = "database_error"


class DatabaseAwayError(DatabaseError):
    """No connection could be had within the bounded retries; nothing was changed."""

    code = "database_away"


class DatabaseBusyError(DatabaseError):
    """Deadlocks, lock waits or certification failures outlasted the bounded retries; nothing was changed."""

    code = "database_busy"


class CommitUnknownError(DatabaseError):
    """The connection fell during COMMIT and the outcome could not be looked up; ask again under the same key."""

    code = "commit_unknown"


class DatabaseNotDurableError(DatabaseError):
    """A durability setting was asked for, read back, and not there: no money is kept in such a database."""

    code = "database_not_durable"


class DatabaseNotSupportedError(DatabaseError):
    """The database's address names none that the ledger runs on."""

    code = "database_not_supported"


class ProviderError(CloudError):
    """The top-up provider cannot be worked with."""

    code = "provider_error"


class ProviderAwayError(ProviderError):
    """No answer came; whether it has charged is not known, so ask again under the same key."""

    code = "provider_away"


class ProviderSetupError(ProviderError):
    """The process does not start: without its secret every webhook would be a stranger's."""

    code = "provider_not_set_up"


class PushKeyError(CloudError):
    """The process does not start: with another key no browser would take what it is pushed."""

    code = "push_key_unreadable"


class SignInBusyError(CloudError):
    """Too many secrets wait to be evaluated; this one was not, and counts as no attempt."""

    code = "sign_in_busy"


class EntryError(CloudError):
    """A journal entry that breaks double entry was about to be built: a bug, stopped before the database."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class LedgerInvariantError(CloudError):
    """Rows under lock did not hold what they must: the transaction is given up and a person has to look."""

    code = "ledger_invariant_broken"
