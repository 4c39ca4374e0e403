"""The drawn counter: repeatable, true to its conditions, and cheap when nobody is there."""

from dataclasses import replace

import numpy as np
import pytest

from hardware.decoders import Region, decode_with_zxing
from hardware.simulated_counter import PRESETS, CounterConditions, CounterScene
from tests.unit.hardware.codes import PAYMENT_CODE

STILL = CounterConditions(shake_mm=0.0, noise=0.0)


def scene(conditions: CounterConditions = STILL, seed: int = 1) -> CounterScene:
    return CounterScene(conditions, seed=seed, frames_per_s=15.0)


def region_of(conditions: CounterConditions, frame_number: int = 0) -> Region:
    (finding,) = decode_with_zxing(scene(conditions).render(PAYMENT_CODE, frame_number=frame_number))
    return finding.region


def test_one_seed_gives_one_film() -> None:
    conditions = PRESETS["everything"]
    one, same, other = scene(conditions, 5), scene(conditions, 5), scene(conditions, 6)
    for number in range(3):
        frame = one.render(PAYMENT_CODE, frame_number=number)
        assert np.array_equal(frame, same.render(PAYMENT_CODE, frame_number=number))
        assert not np.array_equal(frame, other.render(PAYMENT_CODE, frame_number=number))
        assert frame.shape == (480, 640)


def test_the_order_of_the_frames_does_not_matter() -> None:
    one, other = scene(PRESETS["everything"]), scene(PRESETS["everything"])
    one.render(PAYMENT_CODE, frame_number=1)
    assert np.array_equal(one.render(PAYMENT_CODE, frame_number=9), other.render(PAYMENT_CODE, frame_number=9))


def test_a_nearer_phone_is_larger_as_in_a_pinhole_camera() -> None:
    near = region_of(replace(STILL, distance_mm=90.0)).width
    far = region_of(replace(STILL, distance_mm=135.0)).width
    assert near / far == pytest.approx(135 / 90, rel=0.03)


def test_a_turned_phone_is_foreshortened() -> None:
    straight, turned = region_of(STILL), region_of(replace(STILL, turn_deg=40.0))
    assert turned.width / turned.height < 0.9 * straight.width / straight.height


def test_a_shaking_hand_moves_the_phone() -> None:
    shaking = replace(STILL, shake_mm=4.0)
    places = {(r.x, r.y) for r in (region_of(shaking, number) for number in range(6))}
    assert len(places) >= 5
    assert region_of(STILL, 0) == region_of(STILL, 6)


@pytest.mark.parametrize(
    "changed, is_larger",
    [(replace(STILL, noise=20.0), True), (replace(STILL, blur_px=2.0), False)],
    ids=["noise roughens", "blur smooths"],
)
def test_noise_and_blur_do_what_they_say(changed: CounterConditions, is_larger: bool) -> None:
    def roughness(conditions: CounterConditions) -> float:
        frame = scene(conditions).render(PAYMENT_CODE, frame_number=0).astype(np.int16)
        return float(np.abs(np.diff(frame, axis=1)).mean())

    assert (roughness(changed) > roughness(STILL)) is is_larger


def test_glare_whitens_a_spot_and_spares_the_corner() -> None:
    dull = scene(replace(STILL, screen_brightness=120)).render("", frame_number=0)
    lit = scene(replace(STILL, screen_brightness=120, glare=0.8)).render("", frame_number=0)
    spot = (round(0.42 * 480), round(0.56 * 640))
    assert int(lit[spot]) > int(dull[spot]) + 100
    assert lit[-1, -1] == dull[-1, -1]


def test_waiting_costs_nothing() -> None:
    counter = scene(PRESETS["everything"])
    assert counter.empty() is counter.empty()
    assert decode_with_zxing(counter.empty()) == ()


@pytest.mark.parametrize("text", ["A" * 5000, ""], ids=["fits in no code", "empty"])
def test_a_text_without_a_code_leaves_the_screen_lit_and_empty(text: str) -> None:
    frame = scene().render(text, frame_number=0)
    assert decode_with_zxing(frame) == ()
    assert frame.max() == pytest.approx(STILL.screen_brightness, abs=2)


def test_remembers_a_bounded_number_of_screens() -> None:
    counter = scene()
    frames = [counter.render(f"TP1:{number}", frame_number=0) for number in range(12)]
    assert len({frame.tobytes() for frame in frames}) == 12
    assert len(counter._textures) == 8
