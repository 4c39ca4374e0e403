"""The states a terminal can be in, and every reason why the fleet says no: values that are stored or published."""

from enum import StrEnum


class TerminalState(StrEnum):
    """What the cloud thinks of a terminal; its verified payments are posted in each of them (protocol §3)."""

    ACTIVE = "active"
    QUARANTINED = "quarantined"
    """Its chain contradicts itself: it approves nothing until a person has looked; it goes on sending."""
    RETIRED = "retired"
    """Taken out of service by a person: its link is revoked, its board may be enrolled anew as another terminal."""


class ReEnrolment(StrEnum):
    """Whether an enrolled board may enrol again, which needs a person (protocol §9)."""

    NONE = "none"
    NEEDS_PERSON = "needs_person"
    """It asked with a good code and was refused."""
    ALLOWED = "allowed"
    """A person said yes, once and for 24 hours."""


class EnrolmentRefusal(StrEnum):
    """Why an enrolment request is refused."""

    UNREADABLE_REQUEST = "unreadable_request"
    """The bytes are not the one encoding of an enrolment request."""
    SIGNING_KEY_UNUSABLE = "signing_key_unusable"
    """The key is weak or no key at all."""
    SIGNING_KEY_NOT_PROVEN = "signing_key_not_proven"
    """The request is not signed by the key inside."""
    LINK_REQUEST_UNUSABLE = "link_request_unusable"
    """The PKCS#10 request is unreadable, or not signed by its own key."""
    LINK_KEY_NOT_P256 = "link_key_not_p256"
    CODE_REFUSED = "code_refused"
    """Unknown, wrong, expired, used or tried too often: which one is not said."""
    TOO_MANY_ATTEMPTS = "too_many_attempts"
    """So many codes were refused this hour, from whomever, that none is looked at."""
    NEEDS_PERSON = "needs_person"
    """This board is enrolled already: an operator has to allow it to enrol again."""
    ENROLLED_ELSEWHERE = "enrolled_elsewhere"
    """This board is enrolled for another merchant or site: it has to be retired there first."""


class FleetRefusal(StrEnum):
    """Why an operator's wish is refused."""

    UNKNOWN_TERMINAL = "unknown_terminal"
    UNKNOWN_SITE = "unknown_site"
    """No such merchant, or no such site of it."""
    ALREADY_QUARANTINED = "already_quarantined"
    NOT_QUARANTINED = "not_quarantined"
    RETIRED = "retired"
