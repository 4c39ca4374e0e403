"""The exception tree: codes are stable, and every message says what happened and what to do."""

import pytest

from hardware import errors
from hardware.errors import HardwareError

CODES = {
    "HardwareError": "hardware_failed",
    "CameraError": "camera_failed",
    "CameraUnavailable": "camera_unavailable",
    "CameraLost": "camera_lost",
    "EndOfFrames": "end_of_frames",
    "PictureUnreadable": "picture_unreadable",
    "DecoderMissing": "decoder_missing",
    "KeyStoreError": "key_store_failed",
    "KeyExposed": "key_exposed",
    "KeyExists": "key_exists",
}


def test_codes_are_stable_and_complete() -> None:
    tree = {k: v for k, v in vars(errors).items() if isinstance(v, type) and issubclass(v, HardwareError)}
    assert {name: kind.code for name, kind in tree.items()} == CODES


@pytest.mark.parametrize("name", CODES)
def test_the_tree_is_drawn_with_its_codes_at_the_top_of_the_module(name: str) -> None:
    assert errors.__doc__ is not None
    line = next(line for line in errors.__doc__.splitlines() if name in line)
    assert CODES[name] in line or name in ("HardwareError", "CameraError")


def test_a_message_says_what_happened_and_what_to_do() -> None:
    error = HardwareError("The lamp is broken.", what_to_do="Change it.")
    assert str(error) == "The lamp is broken. Change it."
    assert (error.happened, error.what_to_do) == ("The lamp is broken.", "Change it.")
