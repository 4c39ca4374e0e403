"""Sounds and lamps: each implementation knows every signal, and none stops a sale."""

import io
import logging

import pytest

from hardware.signals import BellSignals, LogSignals, Signals, SilentSignals

SIGNALS = ("reading", "approved", "queued", "declined", "attention")


def give(signals: Signals, name: str) -> None:
    {
        "reading": signals.reading,
        "approved": signals.approved,
        "queued": signals.queued,
        "declined": signals.declined,
        "attention": signals.attention,
    }[name]()


@pytest.mark.parametrize("name", SIGNALS)
def test_silence_knows_every_signal(name: str) -> None:
    give(SilentSignals(), name)


@pytest.mark.parametrize(
    "name, rings", [("reading", 0), ("approved", 1), ("queued", 1), ("declined", 2), ("attention", 3)]
)
def test_the_bell_rings_by_what_happened(name: str, rings: int) -> None:
    stream = io.StringIO()
    give(BellSignals(stream), name)
    assert stream.getvalue() == "\a" * rings


@pytest.mark.parametrize(
    "name, level",
    [
        ("reading", logging.DEBUG),
        ("approved", logging.INFO),
        ("queued", logging.INFO),
        ("declined", logging.INFO),
        ("attention", logging.WARNING),
    ],
)
def test_the_log_has_one_line_a_signal(name: str, level: int, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        give(LogSignals(logging.getLogger("box")), name)
    assert [(r.levelno, r.message) for r in caplog.records] == [(level, f"signal_{name}")]


class BrokenStream(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError("the terminal is gone")


def test_a_bell_that_is_gone_stops_no_sale() -> None:
    give(BellSignals(BrokenStream()), "approved")
    closed = io.StringIO()
    closed.close()
    give(BellSignals(closed), "approved")
