"""The frame generator itself: repeatable, true to its measures, and each condition does what it says."""

import math
from dataclasses import replace

import numpy as np
import pytest

from hardware.decoders import decode_with_zxing
from hardware.frame import Luminance
from tests.scanner.conditions import CONDITIONS, PROMISED
from tests.scanner.frames import POSTER_TEXT, Customer, longest_payment_code, size_for
from tests.scanner.glass import CODE_MM, draw_phone, modules_of
from tests.scanner.lens import FOCAL_LENGTH_WIDTHS, Pose, distance_of, places_on, rotation_of
from tests.scanner.sensor import Exposure, bands_of, grey_levels

SIZE_PX = (640, 480)
STRAIGHT_ON = Pose(distance_of(240, frame_width_px=640, width_mm=CODE_MM))
PLAIN = Exposure(
    blur_px=0.0,
    defocus_px=0.0,
    motion_px=0.0,
    motion_deg=0.0,
    exposure=0.9,
    photons=1e6,
    noise=0.0,
    gradient=0.0,
    gradient_deg=0.0,
    haze=0.0,
    glare=0.0,
    glare_at=(0.5, 0.5),
    banding=0.0,
    bands=5.0,
    band_phase=0.0,
    jpeg_quality=None,
)
POINT = np.zeros((61, 61), dtype=np.float32)
POINT[30, 30] = 1.0


def levels(light: np.ndarray, exposure: Exposure) -> Luminance:
    return grey_levels(light, exposure, np.random.default_rng(1))


def test_the_longest_payment_code_is_version_eleven() -> None:
    assert modules_of(longest_payment_code()).shape == (61, 61)
    assert longest_payment_code().startswith("TP1:")


def test_the_same_numbers_give_the_same_pixels_and_others_do_not() -> None:
    def frame(seed: int = 3, number: int = 2, name: str = "everything") -> Luminance:
        return Customer(name, width_px=160, seed=seed).frame(number)

    assert np.array_equal(frame(), frame())
    for other in (frame(seed=4), frame(number=3), frame(name=PROMISED)):
        assert not np.array_equal(frame(), other)


@pytest.mark.parametrize("width_px", [120, 240, 400])
def test_a_code_held_straight_is_as_wide_as_was_asked_for(width_px: int) -> None:
    pose = Pose(distance_of(width_px, frame_width_px=640, width_mm=CODE_MM))
    right_mm, down_mm = places_on(pose, size_px=SIZE_PX, distortion=0.0)
    assert np.diff(right_mm, axis=1).mean() == pytest.approx(CODE_MM / width_px)
    assert np.diff(down_mm, axis=0).mean() == pytest.approx(CODE_MM / width_px)


@pytest.mark.parametrize("width_px", [320, 480])
def test_a_code_is_never_cut_off(width_px: int) -> None:
    width, height = size_for(width_px)
    for seed in range(5):
        (finding,) = decode_with_zxing(Customer("well_held", width_px=width_px, seed=seed).frame(0))
        region = finding.region
        assert min(region.x, region.y) >= 0
        assert region.x + region.width <= width
        assert region.y + region.height <= height


def test_a_tilted_phone_is_a_rotation_in_space() -> None:
    tilted = rotation_of(replace(STRAIGHT_ON, tilt_deg=30.0, tilt_axis_deg=0.0, roll_deg=20.0))
    assert tilted @ tilted.T == pytest.approx(np.eye(3))
    assert math.degrees(math.acos(tilted[2, 2])) == pytest.approx(30.0)
    right_mm, _ = places_on(replace(STRAIGHT_ON, tilt_deg=30.0, tilt_axis_deg=0.0), size_px=SIZE_PX, distortion=0.0)
    steps = np.diff(right_mm[:, 320:322], axis=1).ravel()
    # The far edge is seen smaller: a pixel covers more of it.
    assert max(steps[0], steps[-1]) > 1.15 * min(steps[0], steps[-1])


def test_a_ray_through_the_lens_meets_the_plane_where_geometry_says() -> None:
    pose = Pose(200.0, tilt_deg=35.0, tilt_axis_deg=90.0)
    right_mm, _ = places_on(pose, size_px=SIZE_PX, distortion=0.0)
    x = (500.5 - 320) / (FOCAL_LENGTH_WIDTHS * 640)
    sin, cos = math.sin(math.radians(35)), math.cos(math.radians(35))
    # The plane: (u · cos, 0, 200 − u · sin); the ray: z · (x, 0, 1).
    assert right_mm[240, 500] == pytest.approx(200 * x / (cos + x * sin), rel=1e-3)


def test_the_lens_bends_lines_at_the_edge_and_not_in_the_middle() -> None:
    straight, _ = places_on(STRAIGHT_ON, size_px=SIZE_PX, distortion=0.0)
    bent, _ = places_on(STRAIGHT_ON, size_px=SIZE_PX, distortion=-0.4)
    assert bent[240, 320] == pytest.approx(straight[240, 320], abs=0.01)
    radius = ((639.5 - 320) ** 2 + (0.5 - 240) ** 2) / (FOCAL_LENGTH_WIDTHS * 640) ** 2
    assert bent[0, 639] / straight[0, 639] == pytest.approx(1 / (1 - 0.4 * radius), rel=1e-3)


def test_a_rolling_shutter_shifts_the_last_row_against_the_first() -> None:
    right_mm, _ = places_on(replace(STRAIGHT_ON, drift_px=48.0), size_px=SIZE_PX, distortion=0.0)
    moved_px = (right_mm[0, 320] - right_mm[-1, 320]) / (CODE_MM / 240)
    assert moved_px == pytest.approx(48.0, rel=0.01)


@pytest.mark.parametrize(
    "exposure, width_px, height_px",
    [
        (replace(PLAIN, defocus_px=4.0), 9, 9),
        (replace(PLAIN, motion_px=10.0, motion_deg=0.0), 11, 1),
        (replace(PLAIN, motion_px=10.0, motion_deg=90.0), 1, 11),
    ],
    ids=["a disc", "a streak to the right", "a streak down"],
)
def test_a_point_becomes_what_the_blur_makes_of_it(exposure: Exposure, width_px: int, height_px: int) -> None:
    seen = levels(POINT * 50, exposure) > 60
    assert (seen.any(axis=0).sum(), seen.any(axis=1).sum()) == (width_px, height_px)


def test_noise_is_as_strong_as_it_says() -> None:
    grey = np.full((200, 200), 0.25, dtype=np.float32)
    assert levels(grey, replace(PLAIN, noise=8.0)).std() == pytest.approx(8.0, rel=0.05)


def test_few_photons_are_noise_that_grows_with_amplification() -> None:
    grey = np.full((200, 200), 0.5, dtype=np.float32)
    bright, dark = replace(PLAIN, photons=900.0), replace(PLAIN, photons=900.0, exposure=0.05)
    assert levels(grey, dark).std() > 2 * levels(grey, bright).std()


@pytest.mark.parametrize(
    "exposure, is_brighter",
    [(replace(PLAIN, haze=0.5), True), (replace(PLAIN, glare=1.0), True), (replace(PLAIN, gradient=0.8), False)],
    ids=["haze", "glare", "gradient"],
)
def test_light_comes_on_top_and_shadow_takes_away(exposure: Exposure, is_brighter: bool) -> None:
    grey = np.full((60, 80), 0.2, dtype=np.float32)
    change = levels(grey, exposure).mean() - levels(grey, PLAIN).mean()
    assert change > 5 if is_brighter else change < -5


def test_bands_darken_whole_rows_by_as_much_as_was_asked_for() -> None:
    rows = bands_of(replace(PLAIN, banding=0.7), height_px=480)
    assert rows.shape == (480, 1)
    assert rows.min() == pytest.approx(0.3, abs=0.01)
    assert rows.max() == pytest.approx(1.0, abs=0.01)
    assert sum((rows[1:, 0] < 0.65) & (rows[:-1, 0] >= 0.65)) == 5


@pytest.mark.parametrize("name", ["cracked_glass", "dirt", "dark_mode", "no_quiet_zone"])
def test_what_lies_on_the_glass_changes_it(name: str) -> None:
    text = longest_payment_code()
    clean = draw_phone(text, CONDITIONS["well_held"], np.random.default_rng(1)).light
    other = draw_phone(text, CONDITIONS[name], np.random.default_rng(1)).light
    assert (np.abs(other - clean) > 0.1).mean() > 0.005
    if name == "dark_mode":
        assert np.corrcoef(clean[700:900, 300:500].ravel(), other[700:900, 300:500].ravel())[0, 1] < -0.9


def test_the_mesh_of_a_coarse_display_is_seen_as_a_pattern_that_a_fine_one_lacks() -> None:
    def ripple(name: str) -> float:
        """Standard deviation on a white strip below the code, without slow changes."""
        customer = Customer(name, width_px=240, seed=2)
        x, y = (round(side) for side in customer.middle_px)
        strip = customer.frame(0)[y + 135 : y + 150, x - 60 : x + 60].astype(float)
        return float((strip - strip.mean(axis=1, keepdims=True)).std())

    assert ripple("moire") > 3 * ripple("well_held")


def test_the_poster_stands_beside_the_phone() -> None:
    frame = Customer("two_codes", width_px=240, seed=1).frame(0)
    assert {finding.text for finding in decode_with_zxing(frame)} == {longest_payment_code(), POSTER_TEXT}


def test_a_hand_trembles_and_the_counter_is_empty_without_it() -> None:
    customer = Customer("well_held", width_px=240, seed=1)
    places = [decode_with_zxing(customer.frame(number))[0].region for number in (0, 2, 5)]
    assert len({(place.x, place.y) for place in places}) > 1
    assert max(abs(place.x - places[0].x) for place in places) < 12
    assert decode_with_zxing(customer.empty_frame(0)) == ()
