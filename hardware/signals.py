"""What the box tells by sound and light, beside its display.

The methods are what happened and not what to play, so that a buzzer, a lamp and a log each choose their own.
"""

import logging
from contextlib import suppress
from typing import Final, Protocol, TextIO

BELL: Final = "\a"


class Signals(Protocol):
    """Sounds and lamps. No method blocks for longer than a beep or raises: a broken buzzer stops no sale."""

    def reading(self) -> None:
        """The camera looks for a code."""
        ...

    def approved(self) -> None:
        """The payment is approved and the cloud has it."""
        ...

    def queued(self) -> None:
        """The payment is approved on the box and will be sent."""
        ...

    def declined(self) -> None:
        """The payment is refused."""
        ...

    def attention(self) -> None:
        """The box needs a person: a fault, not a refused payment."""
        ...


class SilentSignals:
    """No sound and no lamp: every signal is swallowed."""

    def reading(self) -> None:
        """Silent."""

    def approved(self) -> None:
        """Silent."""

    def queued(self) -> None:
        """Silent."""

    def declined(self) -> None:
        """Silent."""

    def attention(self) -> None:
        """Silent."""


class LogSignals:
    """One log line a signal, for a box that is watched from afar."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger

    def reading(self) -> None:
        self._logger.debug("signal_reading")

    def approved(self) -> None:
        self._logger.info("signal_approved")

    def queued(self) -> None:
        self._logger.info("signal_queued")

    def declined(self) -> None:
        self._logger.info("signal_declined")

    def attention(self) -> None:
        self._logger.warning("signal_attention")


class BellSignals:
    """The terminal's bell: once for an approval of either kind, twice for a refusal, three times for a fault."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def reading(self) -> None:
        """Looking for a code makes no sound, it would ring all day."""

    def approved(self) -> None:
        self._ring(1)

    def queued(self) -> None:
        self._ring(1)

    def declined(self) -> None:
        self._ring(2)

    def attention(self) -> None:
        self._ring(3)

    def _ring(self, times: int) -> None:
        # A terminal that has gone away (OSError) or was closed (ValueError) must not stop a sale.
        with suppress(OSError, ValueError):
            self._stream.write(BELL * times)
            self._stream.flush()
