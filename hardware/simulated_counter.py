"""Draws what a counter's camera sees of a phone that shows a QR code, so that a box runs without a camera.

The phone is a plane in front of a pinhole camera: distance, tilt and rotation are one homography, as in
life, and blur, noise, glare and the hand's shake come on top. A frame depends only on the text, the
conditions, the seed and the frame's number, so that a run can be repeated pixel by pixel.
"""

import math
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
import segno

from hardware.frame import Luminance

Matrix = npt.NDArray[np.float64]

FRAME_SIZE_PX: Final = (640, 480)
QUIET_ZONE_MODULES: Final = 4
"""ISO/IEC 18004 §6.3.8."""

_MODULE_PX: Final = 4
_CODE_MM: Final = 52.0
_PHONE_MM: Final = (74.0, 150.0)
_SCREEN_MM: Final = (68.0, 140.0)
_FOCAL_LENGTH_FRAME_WIDTHS: Final = 0.95
"""A webcam's 55° across: half the width over the tangent of half the angle."""
_BODY: Final = 28
_COUNTER: Final = 105
_INK: Final = 12
_SHAKE_HZ: Final = ((2.3, 1.0), (5.9, 0.45), (9.1, 0.2))
"""Frequencies of a resting hand's tremor (most of it lies under 12 Hz) and their share of the amplitude."""
_NOISE_MARGIN_PX: Final = 64
_TEXTURES_MAX: Final = 8


@dataclass(frozen=True, slots=True)
class CounterConditions:
    """How the phone is held and lit. The defaults are a phone held well."""

    distance_mm: float = 115.0
    rotation_deg: float = 0.0
    tilt_deg: float = 0.0
    """The phone's lower edge leans away from the camera."""
    turn_deg: float = 0.0
    """The phone's left edge turns away from the camera."""
    blur_px: float = 0.6
    """Standard deviation of the lens's blur."""
    noise: float = 3.0
    """Standard deviation of the sensor's noise in grey levels."""
    glare: float = 0.0
    """Share of full white that a lamp's reflection adds at its centre, 0 to 1."""
    shake_mm: float = 0.4
    """Amplitude of the hand's shake."""
    screen_brightness: int = 235
    ambient: float = 1.0
    """Light on the counter, 0 to 1; a phone's screen shines by itself."""


PRESETS: Final[Mapping[str, CounterConditions]] = MappingProxyType(
    {
        "well_held": CounterConditions(),
        "near": CounterConditions(distance_mm=88.0),
        "far": CounterConditions(distance_mm=165.0, blur_px=0.4),
        "rotated": CounterConditions(rotation_deg=37.0),
        "upside_down": CounterConditions(rotation_deg=180.0),
        "tilted": CounterConditions(tilt_deg=28.0, turn_deg=14.0),
        "blurred": CounterConditions(blur_px=1.2),
        "noisy": CounterConditions(noise=22.0),
        "glare": CounterConditions(glare=0.6),
        "shaking": CounterConditions(shake_mm=4.0, rotation_deg=8.0),
        "dark": CounterConditions(ambient=0.1, screen_brightness=90, noise=7.0),
        "everything": CounterConditions(
            distance_mm=125.0,
            rotation_deg=-12.0,
            tilt_deg=15.0,
            turn_deg=-10.0,
            blur_px=0.9,
            noise=9.0,
            glare=0.3,
            shake_mm=2.0,
        ),
    }
)


class CounterScene:
    """A counter, its camera, and at times a phone."""

    def __init__(
        self,
        conditions: CounterConditions | None = None,
        *,
        seed: int = 1,
        size_px: tuple[int, int] = FRAME_SIZE_PX,
        frames_per_s: float,
    ) -> None:
        self.conditions = conditions or CounterConditions()
        self._size_px = size_px
        self._frames_per_s = frames_per_s
        rng = np.random.default_rng(seed)
        self._phases = rng.uniform(0.0, 2 * math.pi, size=(3, len(_SHAKE_HZ)))
        self._noise_offsets = rng.integers(0, _NOISE_MARGIN_PX, size=(251, 2))
        self._noise = self._make_noise(rng)
        self._counters = {lit: self._make_counter(lit) for lit in (False, True)}
        self._empty_counters = {lit: self._with_noise(c, 0) for lit, c in self._counters.items()}
        self._reflection = self._make_reflection()
        self._textures: OrderedDict[str, Luminance] = OrderedDict()

    def empty(self, *, light: bool = False) -> Luminance:
        """The counter without a phone: always the same array, so that waiting costs nothing."""
        return self._empty_counters[light]

    def render(self, text: str, *, frame_number: int, light: bool = False) -> Luminance:
        """Draw the phone that shows ``text``. A text that fits in no QR code leaves the screen empty."""
        texture = self._texture(text)
        picture = cv2.warpPerspective(
            texture,
            self._view(texture.shape[1] / _PHONE_MM[0], frame_number),
            self._size_px,
            dst=self._counters[light].copy(),
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_TRANSPARENT,
        )
        if self.conditions.blur_px > 0:
            picture = cv2.GaussianBlur(picture, (0, 0), self.conditions.blur_px)
        if self.conditions.glare > 0:
            picture = cv2.add(picture, self._reflection)
        return self._with_noise(np.asarray(picture, dtype=np.uint8), frame_number)

    def _texture(self, text: str) -> Luminance:
        texture = self._textures.get(text)
        if texture is None:
            texture = draw_phone(text, screen_brightness=self.conditions.screen_brightness)
            self._textures[text] = texture
            if len(self._textures) > _TEXTURES_MAX:
                self._textures.popitem(last=False)
        return texture

    def _view(self, texture_px_per_mm: float, frame_number: int) -> Matrix:
        """The homography from the phone's texture to the frame: camera × pose × texture pixels to mm."""
        c = self.conditions
        seconds = frame_number / self._frames_per_s
        sway_mm, rise_mm, twist_mm = (
            c.shake_mm
            * sum(a * math.sin(2 * math.pi * hz * seconds + p) for (hz, a), p in zip(_SHAKE_HZ, ps, strict=True))
            for ps in self._phases
        )
        rotation = _rotation(roll_deg=c.rotation_deg + twist_mm, pitch_deg=c.tilt_deg, yaw_deg=c.turn_deg)
        pose = np.column_stack((rotation[:, 0], rotation[:, 1], (sway_mm, rise_mm, c.distance_mm)))
        width_px, height_px = self._size_px
        focal_px = _FOCAL_LENGTH_FRAME_WIDTHS * width_px
        camera = np.array([[focal_px, 0, width_px / 2], [0, focal_px, height_px / 2], [0, 0, 1]])
        scale = 1 / texture_px_per_mm
        # The camera looks at the middle of the code, and so does the person who holds the phone.
        to_mm = np.array([[scale, 0, -_PHONE_MM[0] / 2], [0, scale, -_code_centre_mm()], [0, 0, 1]])
        view: Matrix = camera @ pose @ to_mm
        return view

    def _make_noise(self, rng: np.random.Generator) -> npt.NDArray[np.int16]:
        width_px, height_px = self._size_px
        shape = (height_px + _NOISE_MARGIN_PX, width_px + _NOISE_MARGIN_PX)
        return np.rint(rng.normal(0.0, self.conditions.noise, size=shape)).astype(np.int16)

    def _with_noise(self, picture: Luminance, frame_number: int) -> Luminance:
        """Cut the frame's noise out of a larger sheet at its own place: fresh enough, and nearly free."""
        down, right = self._noise_offsets[frame_number % len(self._noise_offsets)]
        height_px, width_px = picture.shape
        noise = self._noise[down : down + height_px, right : right + width_px]
        return np.asarray(cv2.add(picture, noise, dtype=cv2.CV_8U), dtype=np.uint8)

    def _make_counter(self, light: bool) -> Luminance:
        """A counter's top, lit from above, with the edge of a till."""
        width_px, height_px = self._size_px
        falloff = np.linspace(1.15, 0.7, height_px)[:, None] * np.linspace(0.95, 1.05, width_px)[None, :]
        ambient = min(1.0, self.conditions.ambient + (0.5 if light else 0.0))
        counter = (falloff * _COUNTER * ambient).astype(np.uint8)
        cv2.rectangle(counter, (0, 0), (width_px // 7, height_px), int(60 * ambient), -1)
        return counter

    def _make_reflection(self) -> Luminance:
        """A lamp's reflection: a soft spot beside the middle of the frame."""
        width_px, height_px = self._size_px
        x = (np.arange(width_px) - 0.56 * width_px) / (0.10 * width_px)
        y = (np.arange(height_px) - 0.42 * height_px) / (0.10 * height_px)
        spot = np.exp(-0.5 * (x[None, :] ** 2 + y[:, None] ** 2))
        return (255 * self.conditions.glare * spot).astype(np.uint8)


def draw_phone(text: str, *, screen_brightness: int) -> Luminance:
    """Draw the phone from the front: dark body, white screen, the code with its quiet zone in the upper half."""
    symbol = _symbol(text)
    px_per_mm = symbol.shape[1] * _MODULE_PX / _CODE_MM
    width_px, height_px = (round(side * px_per_mm) for side in _PHONE_MM)
    phone = np.full((height_px, width_px), _BODY, dtype=np.uint8)
    margin_x, margin_y = (round((p - s) / 2 * px_per_mm) for p, s in zip(_PHONE_MM, _SCREEN_MM, strict=True))
    phone[margin_y : height_px - margin_y, margin_x : width_px - margin_x] = screen_brightness
    modules = np.where(symbol, _INK, screen_brightness).astype(np.uint8)
    code = np.kron(modules, np.ones((_MODULE_PX, _MODULE_PX), dtype=np.uint8))
    top = round(_code_centre_mm() * px_per_mm) - code.shape[0] // 2
    left = (width_px - code.shape[1]) // 2
    phone[top : top + code.shape[0], left : left + code.shape[1]] = code
    return phone


def _code_centre_mm() -> float:
    """From the phone's upper edge."""
    return 55.0


def _symbol(text: str) -> npt.NDArray[np.bool_]:
    """The code's modules with the quiet zone, True for dark: EC level M, the most compact mode (segno chooses)."""
    try:
        code = segno.make_qr(text, error="m", boost_error=False)
    except (segno.DataOverflowError, ValueError):
        return np.zeros((21 + 2 * QUIET_ZONE_MODULES,) * 2, dtype=bool)
    return np.array([list(row) for row in code.matrix_iter(border=QUIET_ZONE_MODULES)], dtype=bool)


def _rotation(*, roll_deg: float, pitch_deg: float, yaw_deg: float) -> Matrix:
    roll, pitch, yaw = (math.radians(a) for a in (roll_deg, pitch_deg, yaw_deg))
    about_z = np.array([[math.cos(roll), -math.sin(roll), 0], [math.sin(roll), math.cos(roll), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, math.cos(pitch), -math.sin(pitch)], [0, math.sin(pitch), math.cos(pitch)]])
    about_y = np.array([[math.cos(yaw), 0, math.sin(yaw)], [0, 1, 0], [-math.sin(yaw), 0, math.cos(yaw)]])
    rotation: Matrix = about_x @ about_y @ about_z
    return rotation
