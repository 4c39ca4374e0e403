"""The devices of the box: the one module of the terminal that knows hardware, and hands it on as what edge asks for."""

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from edge.errors import NotProvisionedError, SettingsInvalidError
from edge.settings import TerminalSettings
from edge.states import Result, ResultKind
from edge.terminal import ScannerError
from hardware.camera import Camera, camera_from_spec, open_camera, spec_for_path
from hardware.errors import CameraError, EndOfFrames, HardwareError, PictureUnreadable
from hardware.frame_skipping import read_newest
from hardware.key_store import FileKeyStore, KeyStore, load_or_create
from hardware.picture_reader import decode_picture
from hardware.pictures import list_pictures
from hardware.qr_reader import QrReader
from hardware.signals import LogSignals
from hardware.signals import Signals as HardwareSignals
from sync.keys import Ed25519SigningKey
from sync.qr_text import QrPrefix

__all__ = ["HARDWARE_ERRORS", "LogSignals", "QrReader"]

HARDWARE_ERRORS = (HardwareError,)
"""What devices raise; the command line turns it into a sentence."""
SIGNING_KEY_NAME = "signing"
LINK_KEY_NAME = "link"
FRAME_WAIT_S = 0.2


@dataclass(frozen=True, slots=True)
class Sighting:
    """The texts found in one picture or frame of ``source``, and the milliseconds it took to find them.

    ``problem`` says why a picture could not be looked at.
    """

    source: str
    texts: tuple[str, ...]
    decode_ms: float
    problem: str = ""


class CameraScanner:
    """Reads codes from a camera in a thread of its own; the camera is opened when it is first needed."""

    def __init__(self, spec: str, reader: QrReader) -> None:
        self._camera: Camera = camera_from_spec(spec)
        self._reader = reader
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="camera")

    async def next_text(self) -> str:
        """Wait for a frame with a code in it; see ``edge.terminal.Scanner``."""
        loop = asyncio.get_running_loop()
        while True:
            text = await loop.run_in_executor(self._thread, self._look)
            if text is not None:
                return text

    def close(self) -> None:
        self._thread.submit(self._camera.close)
        self._thread.shutdown(wait=True)

    def _look(self) -> str | None:
        try:
            self._camera.open()
            frame = read_newest(self._camera, FRAME_WAIT_S).frame
        except EndOfFrames as error:
            self._camera.close()
            raise ScannerError(str(error)) from error
        except PictureUnreadable:
            return None
        except CameraError as error:
            self._camera.close()
            raise ScannerError(str(error)) from error
        if frame is None:
            return None
        # A poster's code beside the phone must not hide the payment code.
        texts = sorted(self._reader.read(frame).texts, key=lambda text: not text.startswith(QrPrefix.PAYMENT_CODE))
        return texts[0] if texts else None


class SpokenSignals:
    """Turns results into the hardware's sound and light."""

    def __init__(self, hardware: HardwareSignals) -> None:
        self._hardware = hardware

    def announce(self, result: Result) -> None:
        match result.kind:
            case ResultKind.APPROVED:
                self._hardware.queued()
            case ResultKind.DECLINED | ResultKind.FAILED:
                self._hardware.declined()
            case ResultKind.CANCELLED | ResultKind.TIMED_OUT:
                self._hardware.attention()


def key_store(settings: TerminalSettings) -> KeyStore:
    """Return where this box's private keys lie."""
    return FileKeyStore(settings.key_folder)


def held_signing_key(store: KeyStore) -> Ed25519SigningKey:
    """Load the signing key of an enrolled box; one is never made in the place of a lost one."""
    held = store.load(SIGNING_KEY_NAME)
    if held is None:
        raise NotProvisionedError("The box's signing key is missing.")
    return Ed25519SigningKey.from_private_bytes(held)


def load_signing_key(store: KeyStore) -> Ed25519SigningKey:
    """Load the box's signing key, making it the first time."""
    made = load_or_create(store, SIGNING_KEY_NAME, lambda: Ed25519SigningKey.generate().private_bytes())
    return Ed25519SigningKey.from_private_bytes(made)


def load_link_key(store: KeyStore) -> bytes:
    """Load the link's P-256 key as PEM, making it the first time."""

    def make() -> bytes:
        return ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    return load_or_create(store, LINK_KEY_NAME, make)


def board_serial() -> str:
    """Return the board's serial number; on a machine without one, its machine id."""
    for path in (Path("/sys/firmware/devicetree/base/serial-number"), Path("/etc/machine-id")):
        if path.exists() and (found := path.read_text(encoding="ascii").strip("\0\n ")):
            return found
    raise SettingsInvalidError("This board has no serial number: give one by --hardware-serial.")


def sightings(path: str, *, watch_s: float) -> Iterator[Sighting]:
    """Look at a picture, a folder of pictures, a video file or a webcam, and give what is found.

    Every picture gives one sighting, found or not; of a video or webcam each frame with a text nobody has seen in it
    before does. A webcam is watched for ``watch_s`` seconds. Raises ``HardwareError``.
    """
    reader = QrReader()
    spec = spec_for_path(path)
    if spec.startswith("picture:"):
        for picture in list_pictures(Path(path)):
            try:
                reading = decode_picture(picture, reader)
            except PictureUnreadable as error:
                yield Sighting(str(picture), (), 0.0, problem=str(error))
                continue
            yield Sighting(str(picture), reading.texts, reading.decode_ms)
        return
    yield from _watch(spec, path, reader, ends_at_s=time.monotonic() + watch_s if spec.startswith("v4l2:") else None)


def _watch(spec: str, path: str, reader: QrReader, *, ends_at_s: float | None) -> Iterator[Sighting]:
    seen: set[str] = set()
    with open_camera(spec) as camera:
        while ends_at_s is None or time.monotonic() < ends_at_s:
            try:
                frame = camera.read(FRAME_WAIT_S)
            except EndOfFrames:
                return
            if frame is None:
                continue
            result = reader.read(frame)
            fresh = tuple(text for text in result.texts if text not in seen)
            if fresh:
                seen.update(fresh)
                yield Sighting(path, fresh, result.duration_ms)
