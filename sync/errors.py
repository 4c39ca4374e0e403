"""What can go wrong with the link: one small tree of exceptions, and every reason for being disconnected by name.

::

    LinkError                     link_error       the link to the broker
    ├── LinkSetupError            link_setup       the files for TLS are missing or cannot be used
    └── LinkAwayError             link_away        not connected, or lost before the broker had taken the message
        └── PublishRefusedError   publish_refused  the broker took the message and refused it, with its reason

Everything else in ``sync`` answers with a refusal instead.
"""

from enum import StrEnum


class LinkError(Exception):
    """Something about the link; ``code`` is stable, the text is for a person."""

    code = "link_error"


class LinkSetupError(LinkError):
    """The certificate, key or CA file cannot be used."""

    code = "link_setup"


class LinkAwayError(LinkError):
    """The message was not taken, or nobody knows; whoever sent it sends it again when the link is back."""

    code = "link_away"


class PublishRefusedError(LinkAwayError):
    """The broker refused the message, by its access list for example.

    ``reason_code`` is the broker's (MQTT v5 §2.4): 135 not authorised, 149 packet too large, 151 quota exceeded.
    """

    code = "publish_refused"

    def __init__(self, words: str, *, reason_code: int) -> None:
        super().__init__(words)
        self.reason_code = reason_code


class LinkFault(StrEnum):
    """Why there is no connection."""

    NAME_NOT_FOUND = "name_not_found"
    NOTHING_LISTENS = "nothing_listens"
    NETWORK_NOT_REACHED = "network_not_reached"
    NO_ANSWER = "no_answer"
    BROKER_NOT_TRUSTED = "broker_not_trusted"
    OWN_CERTIFICATE_REFUSED = "own_certificate_refused"
    TLS_FAILED = "tls_failed"
    CLOSED_UNANSWERED = "closed_unanswered"
    CONNECTION_REFUSED = "connection_refused"
    SUBSCRIPTION_REFUSED = "subscription_refused"
    TAKEN_OVER = "taken_over"
    CLOSED_BY_BROKER = "closed_by_broker"
    CLOSED_EARLY = "closed_early"
    PROTOCOL_BROKEN = "protocol_broken"
    CONNECTION_LOST = "connection_lost"

    def in_words(self, detail: str = "") -> str:
        """Say for a person what happened and what to look at; ``detail`` is the other side's own word."""
        return f"{_WORDS[self]} ({detail})" if detail else _WORDS[self]


_WORDS = {
    LinkFault.NAME_NOT_FOUND: "the broker's name is not found; check its address and the name server",
    LinkFault.NOTHING_LISTENS: "nothing listens where the broker should be; it is down, or the port is wrong",
    LinkFault.NETWORK_NOT_REACHED: "the network is not reached; check the cable or the radio",
    LinkFault.NO_ANSWER: "the broker does not answer",
    LinkFault.BROKER_NOT_TRUSTED: "the broker's certificate is not the fleet's; check address and clock",
    LinkFault.OWN_CERTIFICATE_REFUSED: "the broker does not accept our certificate; it must be renewed",
    LinkFault.TLS_FAILED: "the broker and this machine cannot agree on TLS 1.3",
    LinkFault.CLOSED_UNANSWERED: "the broker closed the connection unanswered; it may not accept our certificate",
    LinkFault.CONNECTION_REFUSED: "the broker refused the connection",
    LinkFault.SUBSCRIPTION_REFUSED: "the broker does not let us subscribe; its access list is wrong",
    LinkFault.TAKEN_OVER: "another client has connected with this identity",
    LinkFault.CLOSED_BY_BROKER: "the broker closed the connection",
    LinkFault.CLOSED_EARLY: "the broker soon closed the connection; if this goes on, another client has this identity",
    LinkFault.PROTOCOL_BROKEN: "the broker sent what MQTT does not allow",
    LinkFault.CONNECTION_LOST: "the connection was lost",
}
