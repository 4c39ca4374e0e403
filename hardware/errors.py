"""What can go wrong with a device; each error says what happened and what to do about it.

HardwareError
├── CameraError
│   ├── CameraUnavailable   camera_unavailable   it cannot be opened
│   ├── CameraLost          camera_lost          it was open and delivers no longer
│   └── EndOfFrames         end_of_frames        a recording has no further frame
├── PictureUnreadable       picture_unreadable
├── DecoderMissing          decoder_missing
└── KeyStoreError           key_store_failed
    ├── KeyExposed          key_exposed          somebody else could read a private key
    └── KeyExists           key_exists           a key is never overwritten
"""

# ruff: noqa: N818 - named for what happened, as the tree above shows; the base class says that it is an error.
from typing import ClassVar


class HardwareError(Exception):
    """A device failed. ``code`` is stable and is what logs and screens key on."""

    code: ClassVar[str] = "hardware_failed"

    def __init__(self, happened: str, *, what_to_do: str) -> None:
        super().__init__(f"{happened} {what_to_do}")
        self.happened = happened
        self.what_to_do = what_to_do


class CameraError(HardwareError):
    """A camera failed."""

    code = "camera_failed"


class CameraUnavailable(CameraError):
    """The camera cannot be opened: absent, busy, forbidden, or its name is not understood."""

    code = "camera_unavailable"


class CameraLost(CameraError):
    """The camera was open and delivers no longer; close it and open it again."""

    code = "camera_lost"


class EndOfFrames(CameraError):
    """A recording has been read to its end. A live camera never raises this."""

    code = "end_of_frames"


class PictureUnreadable(HardwareError):
    """A picture file is missing, too large, or no picture."""

    code = "picture_unreadable"


class DecoderMissing(HardwareError):
    """A QR decoder is not installed."""

    code = "decoder_missing"


class KeyStoreError(HardwareError):
    """A key cannot be loaded or stored."""

    code = "key_store_failed"


class KeyExposed(KeyStoreError):
    """A private key, or the folder that holds it, is open to somebody else."""

    code = "key_exposed"


class KeyExists(KeyStoreError):
    """There is a key of this name already; it is never overwritten."""

    code = "key_exists"
