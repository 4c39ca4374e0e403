"""Where the box's messages go: the link, as far as those who send need it."""

from typing import Protocol


class Publisher(Protocol):
    """What can send: returns once the broker has the message, raises ``SendFailed`` where that failed."""

    async def publish(self, topic: str, payload: bytes, *, qos: int, retain: bool) -> None: ...


class SendFailed(Exception):  # noqa: N818 - named for what happened.
    """The message could not be handed to the broker."""
