"""Each corruption against its definition: SciPy's filters, plain loops, or what random numbers must give."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from mnist_jax.corruptions import CORRUPTIONS, affine, blur, corrupt, cover, edges, lines, noise
from mnist_jax.data import load_splits

KEYS = jax.random.split(jax.random.key(0), 40)


@pytest.fixture(scope="module")
def digit():
    """A three, [28, 28], 0 to 1."""
    test = load_splits("mnist_5k").test
    return test.images[test.labels == 3][0, ..., 0] / np.float32(255)


def of_many_keys(corruption, image):
    return np.asarray(jax.jit(jax.vmap(corruption, in_axes=(0, None)))(KEYS, image))


def is_close(one, other, atol=1e-5):
    return np.abs(np.asarray(one) - other).max() < atol


def affine_of_scipy(image, matrix, shift=(0, 0)):
    """SciPy's, in rows and columns; 0 beyond the border as everywhere."""
    swapped = np.asarray(matrix)[::-1, ::-1]
    offset = 13.5 - swapped @ [13.5, 13.5] + np.array(shift)[::-1]
    padded = np.pad(image, 30)
    offset = offset + 30 - swapped @ [30, 30]
    return ndimage.affine_transform(padded, swapped, offset, order=1)[30:-30, 30:-30]


def test_there_are_fifteen_and_each_gives_tones_of_its_own_for_each_image():
    images = load_splits("mnist_5k").test.images[:3]
    for name in ("impulse_noise", "stripe"):
        corrupted = corrupt(name, images)
        assert corrupted.dtype == np.uint8 and corrupted.shape == images.shape
        assert (corrupted != images).any(axis=(1, 2, 3)).all()
    assert len(CORRUPTIONS) == 15
    np.testing.assert_array_equal(corrupt("impulse_noise", images[:1]), corrupt("impulse_noise", images)[:1])
    assert (corrupt("impulse_noise", images, seed=1) != corrupt("impulse_noise", images)).any()


def test_shot_noise_is_poisson_with_three_photons(digit):
    found = of_many_keys(noise.shot_noise, jnp.full((28, 28), 0.25))
    assert set(np.round(found * 3).astype(int).ravel()) <= {0, 1, 2, 3}
    assert (found == 0).mean() == pytest.approx(np.exp(-0.75), abs=0.01)
    assert (np.round(found * 3) == 1).mean() == pytest.approx(0.75 * np.exp(-0.75), abs=0.01)
    assert (of_many_keys(noise.shot_noise, digit)[:, digit == 0] == 0).all()


def test_impulse_noise_replaces_17_of_100_pixels_by_black_or_white():
    found = of_many_keys(noise.impulse_noise, jnp.full((28, 28), 0.5))
    assert set(found.ravel()) == {0.0, 0.5, 1.0}
    assert (found == 1).mean() == pytest.approx(0.085, abs=0.006)
    assert (found == 0).mean() == pytest.approx(0.085, abs=0.006)


@pytest.mark.parametrize("sigma", [0.7, 1.0, 1.5])
@pytest.mark.parametrize(("beyond", "mode"), [("edge", "nearest"), ("constant", "constant")])
def test_the_gaussian_is_scipys(digit, sigma, beyond, mode):
    expected = ndimage.gaussian_filter(digit, sigma, mode=mode, truncate=4)
    assert is_close(blur.gaussian_blur(digit, sigma, beyond), expected)


def test_glass_blur_moves_pixels_up_and_left_by_at_most_two_swaps_of_the_loops(digit):
    """Repeats the loops of the definition in NumPy, with the same draws."""
    draws = np.asarray(jax.random.bernoulli(KEYS[0], shape=(2 * 26 * 26, 3))).astype(int)
    pixels = np.floor(ndimage.gaussian_filter(digit, 0.7, mode="nearest") * 255) / 255
    step = 0
    for _ in range(2):
        for h in range(27, 1, -1):
            for w in range(27, 1, -1):
                is_swapped, up, left = draws[step]
                step += 1
                if is_swapped:
                    pixels[h, w], pixels[h - up, w - left] = pixels[h - up, w - left], pixels[h, w]
    expected = ndimage.gaussian_filter(pixels, 0.7, mode="nearest")
    # A tone at the edge of two may be rounded down in one of both only.
    assert is_close(jax.jit(blur.glass_blur)(KEYS[0], digit), expected, atol=1 / 255)


def test_motion_blur_smears_a_point_against_its_direction():
    point = np.zeros((28, 28), np.float32)
    point[14, 20] = 1
    weights = np.exp(-0.5 * (np.arange(21) / 3) ** 2)
    weights /= weights.sum()
    angles = np.asarray(jax.vmap(lambda key: jax.random.uniform(key, minval=-45, maxval=45))(KEYS))
    for found, angle in zip(of_many_keys(blur.motion_blur, point), np.radians(angles), strict=True):
        expected = np.zeros_like(point)
        for i, weight in enumerate(weights):
            row = 14 - int(np.ceil(i * np.sin(angle) - 0.5))
            column = 20 - int(np.ceil(i * np.cos(angle) - 0.5))
            if 0 <= row < 28 and column >= 0:
                expected[row, column] += weight
        assert is_close(found, expected)
    flat = np.full((28, 28), 0.3, np.float32)
    assert is_close(blur.motion_blur(KEYS[0], flat), flat)


def test_affine_kinds_are_scipys_with_their_parameters_and_both_signs(digit):
    cos, sin = np.cos(0.4), np.sin(0.4)
    cases = {
        affine.shear: [[[1, -s * sin], [0, cos]] for s in (1, -1)],
        affine.rotate: [[[cos, -s * sin], [s * sin, cos]] for s in (1, -1)],
        affine.scale: [np.eye(2) / 0.7],
    }
    for corruption, matrices in cases.items():
        expected = [affine_of_scipy(digit, matrix) for matrix in matrices]
        which = {
            tuple(is_close(image, other) for other in expected) for image in of_many_keys(corruption, digit)
        }
        assert which == {tuple(row) for row in np.eye(len(expected), dtype=bool)}
    shifts = [(dx, dy) for dx in (-3, 3) for dy in (-3, 3)]
    expected = [affine_of_scipy(digit, np.eye(2), shift) for shift in shifts]
    for image in of_many_keys(affine.translate, digit):
        assert sum(is_close(image, other) for other in expected) == 1


def test_brightness_and_stripe(digit):
    np.testing.assert_allclose(cover.brightness(KEYS[0], digit), np.minimum(digit + 0.5, 1))
    expected = digit.copy()
    expected[:, :7], expected[:, 21:] = 1 - digit[:, :7], 1 - digit[:, 21:]
    np.testing.assert_allclose(cover.stripe(KEYS[0], digit), expected)


def test_the_landscape_of_fog_is_the_mean_of_its_neighbors_where_nothing_is_random(monkeypatch):
    monkeypatch.setattr(jax.random, "uniform", lambda key, shape, minval, maxval: jnp.full(shape, maxval))
    size, decay = 16, 2.0
    heights, step, wobble = np.zeros((size, size)), size, 100.0
    while step >= 2:
        half = step // 2
        for r in range(half, size, step):
            for c in range(half, size, step):
                square = [
                    heights[(r + i) % size, (c + j) % size] for i in (-half, half) for j in (-half, half)
                ]
                heights[r, c] = np.mean(square) + wobble**2
        before = heights.copy()
        for r in range(0, size, half):
            for c in range((r // half + 1) % 2 * half, size, step):
                cross = [
                    before[(r + i) % size, (c + j) % size]
                    for i, j in ((half, 0), (-half, 0), (0, half), (0, -half))
                ]
                heights[r, c] = np.mean(cross) + wobble**2
        step, wobble = half, wobble / decay
    heights -= heights.min()
    np.testing.assert_allclose(cover.plasma_fractal(KEYS[0], size, decay), heights / heights.max(), rtol=1e-5)


def test_fog_lies_over_the_digit_and_scales_it(monkeypatch, digit):
    monkeypatch.setattr(cover, "plasma_fractal", lambda key, size, decay: jnp.full((size, size), 0.5))
    np.testing.assert_allclose(
        cover.fog(KEYS[0], digit), (digit + 1.5) * digit.max() / (digit.max() + 3), rtol=1e-5
    )
    assert (np.asarray(cover.fog(KEYS[0], jnp.zeros((28, 28)))) == 0).all()


def test_spatter_is_mud_where_smoothed_noise_is_high(digit):
    found = of_many_keys(cover.spatter, digit)
    for key, image in zip(KEYS[:3], found, strict=False):
        layer = 0.65 + 0.3 * np.asarray(jax.random.normal(key, (28, 28)))
        drops = ndimage.gaussian_filter(layer, 1, mode="nearest") > 0.65
        mud = ndimage.gaussian_filter(drops.astype(np.float32), 1.5, mode="nearest")
        mud[mud < 0.8] = 0
        assert is_close(image, digit * (1 - mud) + mud * 63 / 255, atol=1e-4)


def test_a_line_fades_above_and_below():
    drawn = np.asarray(lines.line(0, 10, 27, 10))
    expected = np.clip(1 + np.log(1 - np.minimum(np.abs(np.arange(28) - 10), 2.2999) / 2.3), 0, 1)
    np.testing.assert_allclose(drawn[:, :27], np.repeat(expected[:, None], 27, axis=1), atol=1e-6)
    assert (drawn[:, 27] == 0).all()
    steep = np.asarray(lines.line(3.5, 2, 6.5, 26))
    assert (steep[:, [0, 1, 2, 7, 8]] == 0).all() and steep[:, 4:7].any(axis=0).all()


def test_a_dotted_line_leaves_two_columns_of_four_out(digit):
    blank = of_many_keys(lines.dotted_line, jnp.zeros((28, 28)))
    columns = np.arange(28)
    assert (blank[:, :, columns % 4 < 2] == 0).all()
    assert (blank[:, :, (columns % 4 >= 2) & (columns < 27)].max(axis=1) > 0.2).all()
    middles = blank[:, :, 2::4].argmax(axis=1)
    assert (np.abs(np.diff(middles, n=2, axis=1)) <= 1).all(), "on a straight line"
    assert (of_many_keys(lines.dotted_line, digit) >= digit - 1e-6).all()


def test_a_zigzag_has_teeth_of_two_pixels_between_the_columns_2_and_25():
    blank = of_many_keys(lines.zigzag, jnp.zeros((28, 28)))
    assert (blank[:, :, :1] == 0).all() and (blank[:, :, 27:] == 0).all()
    inside = [image for image in blank if (image[:, 3:24].max(axis=0) > 0.5).all()]
    assert len(inside) > 10, "the others leave the picture"
    for image in inside:
        weights = image[:, 3:24] * (image[:, 3:24] > 0.5)
        middle = (weights * np.arange(28)[:, None]).sum(axis=0) / weights.sum(axis=0)
        turns = np.diff(np.sign(np.diff(middle))) != 0
        assert 4 <= turns.sum() <= 9


def test_edges_of_a_square_are_a_closed_thin_contour():
    square = np.zeros((28, 28), np.float32)
    square[8:20, 8:20] = 1
    found = np.asarray(edges.canny_edges(KEYS[0], square)).astype(bool)
    _, inside = ndimage.label(~found)
    assert inside == 2, "inside and outside are apart"
    assert found[10:18, 10:18].sum() == 0 and found[:6].sum() == found[22:].sum() == 0
    assert 40 <= found.sum() <= 52
    assert not np.asarray(edges.canny_edges(KEYS[0], np.zeros((28, 28), np.float32))).any()


def test_weak_edges_count_where_they_are_connected_to_strong_ones():
    mask = np.array([[1, 0, 0, 1], [0, 1, 0, 0], [0, 0, 1, 0], [1, 0, 0, 0]], bool)
    seeds = np.zeros_like(mask)
    seeds[0, 0] = True
    labels, _ = ndimage.label(mask, np.ones((3, 3)))
    np.testing.assert_array_equal(
        edges.connected(jnp.asarray(mask), jnp.asarray(seeds)), labels == labels[0, 0]
    )
    assert not np.asarray(edges.connected(jnp.asarray(mask), jnp.zeros(mask.shape, bool))).any()


def test_the_derivative_is_sobels(digit):
    np.testing.assert_allclose(edges._sobel(jnp.asarray(digit)), ndimage.sobel(digit, axis=0), atol=1e-5)
