"""Each disturbance leaves tones and shapes in order; a share of the images has one, the others none."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from mnist_jax.training.augment.affine import RandomAffine
from mnist_jax.training.augment.augmentation import Augmentation
from mnist_jax.training.augment.disturbances import covers, drawing, moves, pixels
from mnist_jax.training.augment.disturbances.bag import (
    CHANGES,
    KINDS,
    MOVES,
    disturb,
    disturbing_fields,
    draw_disturbances,
    parts,
)
from tests.trees import assert_same_bits

KEY = jax.random.key(3)
WARP = RandomAffine(8.0, 0.1, 0.1, 10.0, 0.1)
STILL = RandomAffine(0.0, 0.0, 0.0, 0.0, 0.0)


@pytest.fixture(scope="module")
def images():
    """Smooth ones of values in [0, 1], of two channels."""
    rough = np.random.default_rng(0).random((24, 12, 10, 2))
    smooth = ndimage.gaussian_filter(rough, (0, 1, 1, 0))
    return jnp.asarray((smooth - smooth.min()) / np.ptp(smooth), jnp.float32)


def amounts_of(*values, number=1):
    """The same for each image; those that are not given are 0.5."""
    return jnp.tile(
        jnp.asarray([*values, *[0.5] * (drawing.NUM_AMOUNTS - len(values))], jnp.float32), (number, 1)
    )


@pytest.mark.parametrize("name", CHANGES)
def test_changed_images_are_images_and_each_is_changed_by_itself(images, name):
    draws = draw_disturbances(KEY, len(images))
    change = jax.jit(CHANGES[name])
    changed = change(draws.key, draws.amounts, images)
    assert changed.shape == images.shape and changed.dtype == jnp.float32
    assert float(changed.min()) >= -1e-6 and float(changed.max()) <= 1 + 1e-6
    differs = np.abs(changed - images).max((1, 2, 3)) > 1e-3
    assert differs.mean() > 0.7
    of_another = change(draws.key, draws.amounts, images.at[0].set(0.5))
    np.testing.assert_array_equal(of_another[1:], changed[1:])


@pytest.mark.parametrize("name", MOVES)
def test_moves_are_of_some_pixels(images, name):
    draws = draw_disturbances(KEY, len(images))
    field = MOVES[name](draws.key, draws.amounts, images)
    assert field.shape == (24, 2, 12, 10) and field.dtype == jnp.float32
    assert 0.3 < float(jnp.sqrt(jnp.mean(field**2))) < 4


def test_a_share_of_a_batch_is_divided_evenly():
    for batch_size, share in ((64, 0.6), (64, 1.0), (7, 0.5), (1000, 0.01)):
        found = parts(batch_size, share)
        assert tuple(found) == KINDS
        lengths = [part.stop - part.start for part in found.values()]
        assert sum(lengths) == round(share * batch_size)
        assert max(lengths) - min(lengths) <= 1
        rows = np.concatenate([np.arange(batch_size)[part] for part in found.values()])
        np.testing.assert_array_equal(rows, np.arange(len(rows)))


def test_the_share_that_is_asked_for_is_disturbed_and_the_rest_is_as_it_was(images):
    draws = draw_disturbances(KEY, 24)
    field, changed = disturbing_fields(draws, images, 0.5), disturb(draws, images, 0.5)
    np.testing.assert_array_equal(field[12:], 0)
    np.testing.assert_array_equal(changed[12:], images[12:])
    for name, part in parts(24, 0.5).items():
        assert (float(jnp.abs(field[part]).max()) > 0) == (name in MOVES)
        assert np.array_equal(changed[part], images[part]) == (name not in CHANGES)


def test_the_parts_begin_at_any_image_and_images_keep_their_places(images):
    """So labels, which nothing changes, stay with them."""
    augment = Augmentation(STILL, disturbed_share=0.5)
    first = set()
    for key in jax.random.split(KEY, 6):
        draws = augment.draw(key, images.shape)
        start = int(draws.disturbances.first)
        is_kept = [
            np.allclose(one, other, atol=1e-6)
            for one, other in zip(augment(draws, images), images, strict=True)
        ]
        undisturbed = {(start + i) % 24 for i in range(12, 24)}
        assert undisturbed <= set(np.flatnonzero(is_kept))
        assert sum(is_kept) <= 15
        first.add(start)
    assert len(first) > 2
    labels = jnp.arange(24) % 3
    assert augment.mix(draws, images, labels)[1] is labels


def test_without_a_share_nothing_is_drawn_and_nothing_changes(images):
    off = Augmentation(WARP, noise_stddev=0.1)
    on = dataclasses.replace(off, disturbed_share=0.5)
    without, drawn = off.draw(KEY, images.shape), on.draw(KEY, images.shape)
    assert without.disturbances is None
    for name in ("affine", "noise_stddev"):
        assert_same_bits(getattr(drawn, name), getattr(without, name))
    assert drawn.noise_key == without.noise_key
    np.testing.assert_array_equal(on(without, images), off(KEY, images))


def test_a_band_is_inverted_or_all_beside_it(images):
    # Level, through the middle row, 0.5 of the greatest width.
    amounts = amounts_of(0.0, 0.5, 0.5, 0.5)
    half = 10 * (0.05 + 0.45 / 2)
    inside = np.abs(np.arange(12) - 6.0) < half
    for side, inverted in ((0.9, inside), (0.1, ~inside)):
        changed = covers.invert_band(KEY, amounts.at[:, 4].set(side), images[:1])
        expected = np.where(inverted[:, None, None], 1 - images[0], images[0])
        np.testing.assert_allclose(changed[0], expected, atol=1e-6)


def test_a_bar_is_of_one_tone_and_hides_what_is_below(images):
    upright = amounts_of(0.3, 0.5, 0.5, 0.5, 0.25)
    changed = covers.lay_bar(KEY, upright, images[:1])[0]
    away = np.abs(np.arange(10) - 5.0)
    np.testing.assert_allclose(changed[:, away <= 1.25], 0.25, atol=1e-6)
    np.testing.assert_array_equal(changed[:, away >= 2.25], images[0][:, away >= 2.25])


def test_a_line_is_drawn_in_teeth_and_dashes_and_erases_nothing():
    blank = jnp.zeros((1, 28, 28, 1))
    level = (0.0, 0.5, 0.5)
    straight = covers.draw_line(KEY, amounts_of(*level, 0.5, 0.5, 0.5, 0.5, 0.5, 0.1, 1.0), blank)[0, ..., 0]
    np.testing.assert_allclose(straight[14], 1, atol=1e-5)
    assert float(straight[:11].max()) == float(straight[18:].max()) == 0
    dashed = covers.draw_line(KEY, amounts_of(*level, 0.5, 0.5, 0.5, 0.5, 0.5, 0.9, 1.0), blank)[0, ..., 0]
    assert 0.3 < float(np.mean(dashed[14] > 0.5)) < 0.8
    teeth = covers.draw_line(KEY, amounts_of(*level, 0.5, 1.0, 0.5, 0.5, 0.5, 0.1, 1.0), blank)[0, ..., 0]
    rows = np.asarray(teeth).argmax(0)
    assert rows.min() <= 12 and rows.max() >= 16
    ink = jnp.full((1, 28, 28, 1), 0.8)
    assert float(covers.draw_line(KEY, amounts_of(*level), ink).min()) >= 0.8 - 1e-6


def test_tones_keep_their_order_or_turn_it_around():
    ramp = jnp.linspace(0, 1, 16).reshape(1, 4, 4, 1)
    for side, sign in ((0.9, 1), (0.1, -1)):
        toned = pixels.change_tones(KEY, amounts_of(0.5, 0.5, 0.5, side), ramp)
        assert np.all(sign * np.diff(np.ravel(toned)) >= 0)
        assert np.ptp(toned) > 0.2


def test_pixels_are_lost_at_the_rate_asked_for_to_black_and_white():
    gray = jnp.full((1, 200, 200, 1), 0.5)
    lost = np.asarray(pixels.lose_pixels(KEY, amounts_of(0.8), gray))
    assert np.mean(lost == 0) == pytest.approx(0.14, abs=0.01)
    assert np.mean(lost == 1) == pytest.approx(0.14, abs=0.01)
    assert set(np.unique(lost)) == {0, 0.5, 1}


def test_grain_is_normal_and_on_half_of_the_images_of_the_ink_alone():
    gray = jnp.full((1, 100, 100, 1), 0.5)
    noisy = np.asarray(pixels.add_grain(KEY, amounts_of(0.2, 0.1), gray))
    assert (noisy - 0.5).std() == pytest.approx(0.12, rel=0.05)
    blank = jnp.zeros((1, 10, 10, 1))
    np.testing.assert_array_equal(pixels.add_grain(KEY, amounts_of(1.0, 0.9), blank), blank)


def test_a_blur_is_scipys_far_from_the_border():
    dot = jnp.zeros((1, 41, 41, 1)).at[0, 20, 20].set(1)
    deviations = np.exp([-0.7 + 1.7 * 0.2, -0.7 + 1.7 * 0.9])
    expected = ndimage.gaussian_filter(np.asarray(dot[0, ..., 0], np.float64), deviations, truncate=8)
    np.testing.assert_allclose(pixels.blur(KEY, amounts_of(0.2, 0.9), dot)[0, ..., 0], expected, atol=1e-4)
    even = jnp.full((1, 9, 9, 1), 0.3)
    np.testing.assert_allclose(pixels.blur(KEY, amounts_of(1.0, 1.0), even), even, atol=1e-6)


def test_outlines_are_left_of_a_square():
    square = np.zeros((1, 12, 12, 1), np.float32)
    square[0, 3:9, 3:9] = 1
    inner = pixels.keep_outlines(KEY, amounts_of(1.0, 0.5, 0.9), jnp.asarray(square))[0, ..., 0]
    shrunk = ndimage.binary_erosion(square[0, ..., 0])
    np.testing.assert_allclose(inner, square[0, ..., 0] - shrunk, atol=1e-6)
    outer = pixels.keep_outlines(KEY, amounts_of(1.0, 0.5, 0.1), jnp.asarray(square))[0, ..., 0]
    grown = ndimage.binary_dilation(square[0, ..., 0])
    np.testing.assert_allclose(outer, grown - square[0, ..., 0], atol=1e-6)


def test_a_texture_reaches_from_0_to_1_and_is_smooth_where_its_grids_are_coarse():
    decay = jnp.full((50, 1, 1, 1), 0.5)
    fine = drawing.texture(KEY, decay, (50, 28, 28, 1), (14,))
    coarse = drawing.texture(KEY, decay, (50, 28, 28, 1), (2, 4))
    for made in (fine, coarse):
        assert made.shape == (50, 28, 28, 1)
        np.testing.assert_allclose(made.min((1, 2, 3)), 0, atol=1e-6)
        np.testing.assert_allclose(made.max((1, 2, 3)), 1, atol=1e-6)
    assert np.abs(np.diff(coarse, axis=1)).mean() < 0.5 * np.abs(np.diff(fine, axis=1)).mean()


def test_a_wide_warp_is_none_where_its_amounts_are_in_the_middle():
    # The zoom's middle is not 1: exp(-0.2 + 0.65 * share) is, at this share.
    amounts = amounts_of(0.5, 0.5, 0.2 / 0.65)
    np.testing.assert_allclose(moves.warp_widely(KEY, amounts, jnp.zeros((1, 9, 9, 1))), 0, atol=1e-5)
    turned = moves.warp_widely(KEY, amounts.at[:, 0].set(1.0), jnp.zeros((1, 9, 9, 1)))[0]
    rows, columns = np.mgrid[:9, :9] - 4.0
    cos, sin = np.cos(0.5), np.sin(0.5)
    np.testing.assert_allclose(turned[0], sin * columns + (cos - 1) * rows, atol=1e-4)
    np.testing.assert_allclose(turned[1], (cos - 1) * columns - sin * rows, atol=1e-4)
