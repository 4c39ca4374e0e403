"""The table of conditions: in which light, on which phone and in whose hand a code is shown.

Each condition is a few ranges; a seed draws one value from each, so that ten seeds are ten customers.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

Range = tuple[float, float]

NONE: Final[Range] = (0.0, 0.0)
ALL_AROUND: Final[Range] = (-180.0, 180.0)


@dataclass(frozen=True, slots=True)
class Condition:
    """What a frame may suffer from. The defaults are a phone held well before a usual camera."""

    says: str
    roll_deg: Range = (-15.0, 15.0)
    tilt_deg: Range = (0.0, 10.0)
    """Between the glass and the sensor, about an axis in any direction."""
    blur_px: Range = (0.5, 0.7)
    """Standard deviation of a Gaussian blur, the lens's own."""
    defocus_px: Range = NONE
    """Radius of the disc that a point becomes out of focus."""
    motion_px: Range = NONE
    """How far the phone moves while the shutter is open."""
    exposure: Range = (0.8, 0.95)
    """What a white screen gives, as a share of the brightest the sensor can tell."""
    photons: Range = (6000.0, 6000.0)
    """Electrons of a full pixel: few in the dark, where the camera amplifies the little it gets."""
    noise: Range = (2.0, 3.0)
    """Standard deviation of what is added to the grey levels."""
    gradient: Range = NONE
    """Share of light lost from one side of the frame to the other."""
    haze: Range = NONE
    """Light of the surroundings that the glass throws back everywhere, as a share of white."""
    glare: Range = NONE
    """Brightness of a lamp's reflection at its centre, as a share of white."""
    grid_depth: Range = NONE
    """Share of light that the dark mesh between the display's pixels takes."""
    aperture_px: float = 1.0
    """How much of a sensor pixel's width collects light; a small part shows moiré."""
    roll_shutter_px: Range = NONE
    """How far the phone moves sideways from the first row's exposure to the last row's."""
    banding: Range = NONE
    """Share of light that a dimmed display's flicker takes from some rows."""
    is_dark_mode: bool = False
    cracks: int = 0
    fingers: int = 0
    """Fingerprints and smears on the glass."""
    crumbs: int = 0
    jpeg_quality: int | None = None
    quiet_modules: int = 4
    """White around the code (ISO/IEC 18004 asks for four), before the black of the phone's body."""
    has_second_code: bool = False
    distortion: Range = (-0.05, 0.05)
    """Division model: an undistorted radius is r / (1 + distortion · r²), r in focal lengths."""


PROMISED: Final = "promised"
"""What the box promises to read: blur of 1 px, noise of 8 grey levels, ±15° in the plane, up to 10° out of it."""

CONDITIONS: Final[Mapping[str, Condition]] = MappingProxyType(
    {
        "well_held": Condition("a phone held well"),
        PROMISED: Condition(
            "blur of 1 px, noise of 8 grey levels, ±15° in the plane, ≤ 10° out of it",
            blur_px=(1.0, 1.0),
            noise=(8.0, 8.0),
        ),
        "any_rotation": Condition("held at any angle in the plane", roll_deg=ALL_AROUND),
        "strong_tilt": Condition("tilted by 25 to 40°", tilt_deg=(25.0, 40.0)),
        "wide_lens": Condition("a wide-angle lens that bends straight lines", distortion=(-0.45, -0.25)),
        "defocus": Condition("out of focus: a point becomes a disc of 1.5 to 2.2 px radius", defocus_px=(1.5, 2.2)),
        "motion": Condition("moved by 3 to 6 px while the shutter is open", motion_px=(3.0, 6.0)),
        "noise": Condition("noise of 18 to 26 grey levels", noise=(18.0, 26.0)),
        "under_exposed": Condition(
            "far too dark: white gives 3 to 6 % of what the sensor can tell",
            exposure=(0.03, 0.06),
            photons=(900.0, 900.0),
        ),
        "over_exposed": Condition("too bright: white gives 2.5 to 4 times full scale", exposure=(2.5, 4.0)),
        "gradient": Condition("light falls by 75 to 90 % across the frame", gradient=(0.75, 0.9)),
        "glare": Condition("a lamp's reflection on the code", glare=(1.0, 1.8)),
        "low_contrast": Condition("a dim display in bright light", haze=(0.55, 0.7), exposure=(0.5, 0.6)),
        "moire": Condition(
            "coarse display pixels that beat with the sensor's", grid_depth=(0.45, 0.6), aperture_px=0.5
        ),
        "rolling_shutter": Condition(
            "moving sideways by 30 to 90 px from first to last row", roll_shutter_px=(30.0, 90.0)
        ),
        "banding": Condition("a dimmed display flickers: dark bands of 60 to 85 %", banding=(0.6, 0.85)),
        "dark_mode": Condition("a light code on a dark screen", is_dark_mode=True),
        "cracked_glass": Condition("four cracks over the code", cracks=4),
        "dirt": Condition("fingerprints and crumbs on the glass", fingers=3, crumbs=10),
        "jpeg": Condition("a camera that compresses hard (JPEG quality 12)", jpeg_quality=12),
        "no_quiet_zone": Condition("one module of white, then the phone's black body", quiet_modules=1),
        "two_codes": Condition("a poster's code behind the phone", has_second_code=True),
        "everything": Condition(
            "a bit of everything",
            tilt_deg=(5.0, 15.0),
            blur_px=(0.8, 1.0),
            motion_px=(0.0, 2.0),
            noise=(6.0, 10.0),
            gradient=(0.2, 0.5),
            haze=(0.1, 0.2),
            glare=(0.2, 0.4),
            roll_shutter_px=(0.0, 10.0),
            cracks=1,
            fingers=2,
            crumbs=3,
            jpeg_quality=40,
        ),
    }
)
