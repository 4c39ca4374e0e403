"""Every operating failure of the terminal, one small tree.

::

    EdgeError                        something the terminal needs does not work
    ├── SettingsInvalidError         settings_invalid          a setting is missing or wrong
    ├── NotProvisionedError          not_provisioned           this terminal was never set up, or its files are gone
    ├── AlreadyProvisionedError      already_provisioned       it is set up already; nothing is overwritten
    ├── NotRunningError              not_running               no running box answers
    ├── EnrolmentError               enrolment_failed          the box could not be enrolled
    ├── TrustBrokenError             trust_broken              what the box trusts does not verify under its root
    └── OutboxError                  the queue of approved sales cannot be used
        ├── OutboxLockedError        outbox_locked             another process has it open
        ├── OutboxCorruptError       outbox_corrupt            it is damaged: stop and keep the evidence
        ├── OutboxUnsafeError        outbox_unsafe             it is not set up as a safe one must be
        ├── OutboxNotWritableError   outbox_not_writable       the card does not take writes
        │   └── OutboxFullError      outbox_full               no room is left
        ├── OutboxUnknownError       outbox_outcome_unknown    nobody can say whether the last write is on the card
        └── OutboxExportError        outbox_export_failed      the copy could not be made; the outbox is untouched

    BrokenInvariantError             outside the tree: a bug, never caught, ends the process

A person reads these on the box's display, so each message has three sentences: what happened, what was not lost,
and what to do next. Callers branch on the class or on the stable ``code``, never on the words. Expected refusals
of a sale are ``sync.refusals.Refusal`` values and do not stand here. No message carries a path, SQL or a secret;
paths go to the log only.
"""

from typing import ClassVar


class EdgeError(Exception):
    """What happened, with the stable ``code`` of the failure; ``str()`` adds what was not lost and what to do."""

    code: ClassVar[str] = "edge_error"
    not_lost: ClassVar[str] = "Every approved sale is kept."
    to_do: ClassVar[str] = "Restart the terminal; if this stays, call support."

    def __init__(self, happened: str) -> None:
        super().__init__(happened)
        self.happened = happened

    def __str__(self) -> str:
        return f"{self.happened} {self.not_lost} {self.to_do}"


class SettingsInvalidError(EdgeError):
    """A setting is missing, malformed or contradicts another."""

    code = "settings_invalid"
    not_lost = "Nothing was started and nothing was changed."
    to_do = "Correct the named setting and start again."


class NotProvisionedError(EdgeError):
    """A file of the terminal's set-up is missing; an empty one is never made in its place."""

    code = "not_provisioned"
    not_lost = "Nothing was created or overwritten; what the cloud has acknowledged is safe there."
    to_do = "If this terminal took sales before, put its own card back; only a new terminal is to be enrolled."


class AlreadyProvisionedError(EdgeError):
    """Provisioning found a set-up; it never writes over one."""

    code = "already_provisioned"
    not_lost = "The set-up and all sales in it are unchanged."
    to_do = "Start the terminal as it is; for a new enrolment use a new epoch."


class NotRunningError(EdgeError):
    """No running box answers on its local API."""

    code = "not_running"
    not_lost = "Nothing was changed."
    to_do = "Start the box with `tillbox terminal run`, or name the port it listens on."


class BoxRefusedError(EdgeError):
    """The running box said no to what its local API was asked."""

    code = "box_refused"
    not_lost = "Nothing was changed."
    to_do = "Do what it says, then try again."


class EnrolmentError(EdgeError):
    """The cloud refused the enrolment, was not reached, or answered what does not verify."""

    code = "enrolment_failed"
    not_lost = "The box is as it was before; its keys and its request are kept."
    to_do = "Check the code and the network and try again; the same code may be used for the same box."


class TrustBrokenError(EdgeError):
    """A key, certificate, trust list or policy on the card does not verify under the pinned root."""

    code = "trust_broken"
    not_lost = "Every approved sale is kept; no new one is taken."
    to_do = "Keep this card, and call support: the box must be enrolled again."


class OutboxError(EdgeError):
    """The queue of approved sales cannot be used as it must be."""

    code = "outbox_error"


class OutboxLockedError(OutboxError):
    """Another process holds the outbox."""

    code = "outbox_locked"
    not_lost = "Every approved sale is kept; this process wrote nothing."
    to_do = "Stop the other terminal process or database tool, then start again."


class OutboxCorruptError(OutboxError):
    """The outbox is damaged; the terminal stops and leaves every byte as it is."""

    code = "outbox_corrupt"
    not_lost = "Nothing was deleted, renamed or started anew; what the cloud has acknowledged is safe there."
    to_do = "Take no more sales, switch off, keep this card as evidence and call support: most sales can be recovered."


class OutboxUnsafeError(OutboxError):
    """The outbox is not the one asked for, or not set so that an approval survives a power cut."""

    code = "outbox_unsafe"
    not_lost = "Every approved sale is kept; no new one is taken until this is right."
    to_do = "Call support with this message; the card and its files must stay as they are."


class OutboxNotWritableError(OutboxError):
    """The card refused a write, or can only be read."""

    code = "outbox_not_writable"
    not_lost = "Every approved sale is kept; the sale at hand was not approved."
    to_do = "Restart the terminal; if this stays, the card is wearing out: call support and keep the card."


class OutboxFullError(OutboxNotWritableError):
    """There is no room left for another record."""

    code = "outbox_full"
    to_do = "Make room on the card or connect the terminal, so that it can send its sales; then sell again."


class OutboxUnknownError(OutboxError):
    """The card failed in the middle of a write, and also when asked what it holds."""

    code = "outbox_outcome_unknown"
    not_lost = "Every sale approved before is kept; whether the one at hand was stored shows at the next start."
    to_do = "Do not repeat the sale; restart the terminal and look it up in the history first."


class OutboxExportError(OutboxError):
    """A copy of the outbox could not be written where it was asked for."""

    code = "outbox_export_failed"
    not_lost = "The outbox itself is unchanged and every approved sale is kept."
    to_do = "Choose a new file name in a folder that has room, and export again."


class BrokenInvariantError(RuntimeError):
    """Our own code did what must never happen to money. It is no ``EdgeError``, so that nobody carries on."""
