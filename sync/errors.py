"""What can go wrong with the link, in one small tree; everything else in ``sync`` answers with a refusal instead.

::

    LinkError                 link_error           the link to the broker
    ├── LinkSetupError        link_setup           the files for TLS are missing or cannot be used
    └── LinkAwayError         link_away            not connected, or lost before the broker had taken the message
        └── PublishRefusedError   publish_refused      the broker took the message and refused it, with its reason
"""


class LinkError(Exception):
    """Something about the link; ``code`` is stable, the text is for a person."""

    code = "link_error"


class LinkSetupError(LinkError):
    """The certificate, key or CA file cannot be used."""

    code = "link_setup"


class LinkAwayError(LinkError):
    """The message was not taken; whoever sent it sends it again when the link is back."""

    code = "link_away"


class PublishRefusedError(LinkAwayError):
    """The broker refused the message, by its access list for example."""

    code = "publish_refused"
