"""Each change is its definition, drawn for each image alone; what is off changes nothing."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from mnist_jax.training.augment.affine import RandomAffine
from mnist_jax.training.augment.augmentation import Augmentation, AugmentDraws
from mnist_jax.training.augment.boxes import cut_out, random_centers
from mnist_jax.training.augment.elastic import random_fields
from mnist_jax.training.augment.mixing import MixDraws, draw_mixing, mix
from mnist_jax.training.augment.thickness import change_thickness
from mnist_jax.training.augment.tones import add_noise, change_contrast
from mnist_jax.training.draws import draw_step
from mnist_jax.training.step import train_step
from tests.trees import assert_same_bits

KEY = jax.random.key(3)
STILL = RandomAffine(0.0, 0.0, 0.0, 0.0, 0.0)
WARP = RandomAffine(8.0, 0.1, 0.1, 10.0, 0.1)
ALL = Augmentation(
    WARP,
    num_classes=3,
    cutout_fraction=0.4,
    elastic_alpha=20.0,
    elastic_sigma=2.0,
    thickness_pixels=1.5,
    contrast_fraction=0.5,
    noise_stddev=0.2,
    mixup_alpha=0.5,
    cutmix_alpha=1.0,
)


@pytest.fixture(scope="module")
def images():
    return jnp.asarray(np.random.default_rng(0).random((6, 12, 10, 2), np.float32))


def assert_uniform(values, low, high):
    """By Kolmogorov and Smirnov's test, p > 0.001."""
    n = len(values)
    share = np.sort((np.asarray(values, np.float64) - low) / (high - low))
    assert np.abs(share - (np.arange(n) + 0.5) / n).max() < 1.95 / np.sqrt(n)


def test_a_field_is_smoothed_noise_as_scipy_smooths():
    shape, alpha, sigma = (3, 20, 17, 1), 34.0, 3.0
    rough = np.asarray(jax.random.uniform(KEY, (3, 2, 20, 17), minval=-1, maxval=1), np.float64)
    assert_uniform(rough.ravel(), -1, 1)
    smooth = ndimage.gaussian_filter(rough, (0, 0, sigma, sigma), mode="constant")
    field = random_fields(KEY, shape, alpha=alpha, sigma=sigma)
    assert field.dtype == jnp.float32
    np.testing.assert_allclose(field, alpha * smooth, atol=1e-4)


def test_a_field_moves_pixels_by_as_much_as_is_said():
    middle = random_fields(KEY, (40, 48, 48, 1), alpha=34.0, sigma=4.0)[:, :, 16:32, 16:32]
    expected = 34.0 / (4.0 * np.sqrt(12 * np.pi))
    assert float(jnp.sqrt(jnp.mean(middle**2))) == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("method", ["gather", "matmul"])
def test_a_field_is_added_to_the_warp(images, method):
    """A pixel is taken from its place, with both displacements: as SciPy's map_coordinates."""
    warp = dataclasses.replace(WARP, method=method)
    field = random_fields(KEY, images.shape, alpha=8.0, sigma=2.0)
    rows, columns = np.mgrid[:12, :10].astype(np.float32)
    # Of images that hold their own coordinates the warp tells where each pixel comes from.
    places = np.broadcast_to(np.stack([rows, columns], -1), images.shape)
    wide = np.pad(places, ((0, 0), (20, 20), (20, 20), (0, 0)), mode="reflect", reflect_type="odd")
    from_where = np.asarray(warp(KEY, wide))[:, 20:32, 20:30]
    drawn = warp.draw(KEY, wide.shape)
    # The shift follows the size of the image, so the small one is warped by what was drawn for the large.
    warped = np.asarray(warp(drawn, images, field))
    for i in range(len(images)):
        at = [from_where[i, ..., axis] + field[i, axis] for axis in (0, 1)]
        for channel in range(2):
            expected = ndimage.map_coordinates(images[i, ..., channel], at, order=1, mode="nearest")
            np.testing.assert_allclose(warped[i, ..., channel], expected, atol=2e-4)
    alone = STILL(None, images, field)
    expected = ndimage.map_coordinates(
        images[2, ..., 1], np.mgrid[:12, :10] + field[2], order=1, mode="nearest"
    )
    np.testing.assert_allclose(alone[2, ..., 1], expected, atol=1e-4)


def test_thickness_is_scipys_dilation_and_erosion(images):
    cross = ndimage.generate_binary_structure(2, 1)
    functions = {1: ndimage.grey_dilation, -1: ndimage.grey_erosion}
    amounts = np.array([1.0, -1.0, 2.0, -2.0, 0.4, -1.25], np.float32)
    changed = change_thickness(images, jnp.asarray(amounts), 2.0)
    for image, amount, result in zip(images, amounts, changed, strict=True):
        for channel in range(2):
            levels = [image[..., channel]]
            for _ in range(2):
                levels.append(functions[np.sign(amount)](levels[-1], footprint=cross, mode="nearest"))
            whole, part = int(abs(amount)), abs(amount) % 1
            expected = levels[whole] if not part else (1 - part) * levels[whole] + part * levels[whole + 1]
            np.testing.assert_allclose(result[..., channel], expected, atol=1e-6)


def test_no_thickness_leaves_an_image_as_it_is(images):
    np.testing.assert_array_equal(change_thickness(images, jnp.zeros(6), 1.0), images)


def test_contrast_is_a_factor_on_the_distance_from_the_mean(images):
    factors = np.array([0.0, 0.5, 1.0, 1.5, 2.0, 0.9], np.float32)
    changed = change_contrast(images, jnp.asarray(factors))
    for image, factor, result in zip(images, factors, changed, strict=True):
        for channel in range(2):
            mean = image[..., channel].mean()
            expected = np.clip(mean + factor * (image[..., channel] - mean), 0, 1)
            np.testing.assert_allclose(result[..., channel], expected, atol=1e-6)


def test_noise_is_normal_and_of_the_standard_deviation_asked_for():
    gray = jnp.full((3, 60, 60, 1), 0.5)
    stddevs = np.array([0.0, 0.05, 0.1], np.float32)
    noisy = np.asarray(add_noise(KEY, gray, jnp.asarray(stddevs)), np.float64)
    np.testing.assert_array_equal(noisy[0], gray[0])
    for image, stddev in zip(noisy[1:], stddevs[1:], strict=True):
        noise = image - 0.5
        assert noise.std() == pytest.approx(stddev, rel=0.05)
        assert np.mean(np.abs(noise) < stddev) == pytest.approx(0.6827, abs=0.03)
    assert abs(np.corrcoef(noisy[1].ravel(), noisy[2].ravel())[0, 1]) < 4 / 60
    loud = add_noise(KEY, gray, jnp.full(3, 5.0))
    assert (loud.min(), loud.max()) == (0, 1)


@pytest.mark.parametrize("size", [1, 4, 5, 40])
def test_cutout_erases_a_square_cut_off_at_the_border(images, size):
    centers = np.array([[0, 0], [11, 9], [5, 5], [0, 9], [6, 0], [3, 8]], np.int32)
    erased = cut_out(images, jnp.asarray(centers), size, 0.25)
    for image, (row, column), result in zip(images, centers, erased, strict=True):
        expected = np.array(image)
        for i in range(row - size // 2, row - size // 2 + size):
            for j in range(column - size // 2, column - size // 2 + size):
                if 0 <= i < 12 and 0 <= j < 10:
                    expected[i, j] = 0.25
        np.testing.assert_array_equal(result, expected)


def test_every_pixel_is_alike_likely_a_center():
    centers = np.asarray(random_centers(KEY, (12_000, 4, 3, 1)))
    counts = np.zeros((4, 3))
    np.add.at(counts, tuple(centers.T), 1)
    assert np.abs(counts - 1000).max() < 4 * np.sqrt(1000)


def test_mixup_blends_an_image_and_its_label_with_those_before(images):
    labels = jnp.asarray([0, 1, 2, 0, 1, 2])
    shares = np.array([0.0, 0.25, 0.5, 0.75, 1.0, 0.9], np.float32)
    draws = MixDraws(jnp.asarray(shares), jnp.zeros((6, 2), jnp.int32), jnp.zeros(6, bool))
    mixed, targets = mix(draws, images, labels, 3)
    for i, share in enumerate(shares):
        np.testing.assert_allclose(mixed[i], share * images[i] + (1 - share) * images[i - 1], atol=1e-6)
        expected = share * np.eye(3)[labels[i]] + (1 - share) * np.eye(3)[labels[i - 1]]
        np.testing.assert_allclose(targets[i], expected, atol=1e-6)


def test_cutmix_pastes_a_box_and_counts_the_area(images):
    soft = np.random.default_rng(1).dirichlet(np.ones(4), 6).astype(np.float32)
    shares = np.array([0.0, 0.3, 0.5, 0.75, 1.0, 0.9], np.float32)
    centers = np.array([[6, 5], [0, 0], [11, 9], [5, 5], [4, 4], [2, 8]], np.int32)
    draws = MixDraws(jnp.asarray(shares), jnp.asarray(centers), jnp.ones(6, bool))
    mixed, targets = mix(draws, images, jnp.asarray(soft), 4)
    for n, (share, (row, column)) in enumerate(zip(shares, centers, strict=True)):
        height, width = (int(np.sqrt(1 - share) * size) for size in (12, 10))
        top, left = row - height // 2, column - width // 2
        expected, pasted = np.array(images[n]), 0
        for i in range(max(top, 0), min(top + height, 12)):
            for j in range(max(left, 0), min(left + width, 10)):
                expected[i, j], pasted = images[n - 1][i, j], pasted + 1
        np.testing.assert_array_equal(mixed[n], expected)
        left_over = 1 - pasted / 120
        np.testing.assert_allclose(targets[n], left_over * soft[n] + (1 - left_over) * soft[n - 1], atol=1e-6)


@pytest.mark.parametrize(("mixup", "cutmix", "pasted"), [(0.5, 0.0, 0), (0.0, 0.5, 1), (0.5, 0.5, 0.5)])
def test_shares_are_of_the_beta_distribution(mixup, cutmix, pasted):
    draws = draw_mixing(KEY, (4000, 5, 5, 1), mixup_alpha=mixup, cutmix_alpha=cutmix)
    # Beta(1/2, 1/2) is the arcsine distribution.
    assert_uniform(np.arcsin(np.sqrt(np.asarray(draws.shares, np.float64))), 0, np.pi / 2)
    assert np.mean(draws.is_pasted) == pytest.approx(pasted, abs=0.04)


def test_amounts_are_uniform_and_of_each_image_its_own():
    n = 4000
    draws = ALL.draw(KEY, (n, 28, 28, 1))
    ranges = {"thickness": (-1.5, 1.5), "contrast": (0.5, 1.5), "noise_stddev": (0.0, 0.2)}
    for name, (low, high) in ranges.items():
        assert_uniform(getattr(draws, name), low, high)
    drawn = [*(getattr(draws, name) for name in ranges), *draws.affine, *draws.cutout.T, draws.mixing.shares]
    own = np.corrcoef(np.stack(drawn))
    warp = slice(3, 9)  # its six numbers depend on one another
    own[warp, warp] = np.eye(6)
    assert np.abs(own - np.eye(len(drawn))).max() < 4.5 / np.sqrt(n)


def test_the_warp_is_drawn_as_without_the_other_changes(images):
    assert_same_bits(ALL.draw(KEY, images.shape).affine, WARP.draw(KEY, images.shape))


def test_one_key_gives_one_result_however_it_is_called(images):
    alone = jax.jit(ALL)(KEY, images)
    assert alone.shape == images.shape and alone.dtype == jnp.float32
    assert float(alone.min()) >= 0 and float(alone.max()) <= 1
    assert_same_bits(alone, jax.jit(ALL)(KEY, images))
    assert not np.array_equal(alone, jax.jit(ALL)(jax.random.key(4), images))
    keys = jax.random.split(KEY, 3)
    drawn = jax.vmap(lambda key: ALL.draw(key, images.shape))(keys)
    assert isinstance(drawn, AugmentDraws)
    together = jax.jit(jax.vmap(ALL))(drawn, jnp.stack([images] * 3))
    one = jax.jit(ALL)
    for key, result in zip(keys, together, strict=True):
        np.testing.assert_allclose(result, one(key, images), atol=1e-4)


SETTINGS = {
    field.name: getattr(ALL, field.name)
    for field in dataclasses.fields(Augmentation)
    if field.name not in ("affine", "num_classes", "elastic_sigma", "disturbed_share")
}


@pytest.mark.parametrize("name", SETTINGS)
def test_each_setting_switches_its_own_change_on(images, name):
    changed = Augmentation(STILL, num_classes=3, **{name: SETTINGS[name]})
    draws = changed.draw(KEY, images.shape)
    others = Augmentation(STILL, num_classes=3)
    assert not np.array_equal(changed(KEY, images), images) or name in ("mixup_alpha", "cutmix_alpha")
    assert np.array_equal(others(KEY, images), images)
    labels = jnp.asarray([0, 1, 2, 0, 1, 2])
    mixed = changed.mix(draws, jnp.asarray(images), labels)
    assert (mixed[1].ndim == 2) == (name in ("mixup_alpha", "cutmix_alpha"))


def test_a_step_learns_mixed_labels(make_tiny_state, tiny_perceptron, tiny_data):
    """Its loss is the cross-entropy with the mixture, its hits those of the mixture's likeliest class."""
    images, labels = tiny_data
    batch = {"image": jnp.asarray(images[:8]), "label": jnp.asarray(labels[:8])}
    augment_fn = Augmentation(STILL, num_classes=3, mixup_alpha=1.0)
    state = make_tiny_state(model=tiny_perceptron.clone(dropout_rate=0.0))
    after, metrics = jax.jit(functools.partial(train_step, augment_fn=augment_fn))(state, batch, KEY)
    draws = draw_step(KEY, state.step, batch["image"].shape, augment_fn)
    mixed, targets = mix(
        draws.augment.mixing, batch["image"].astype(jnp.float32) / 255, batch["label"], num_classes=3
    )
    expected, sums = jax.jit(train_step)(state, {"image": mixed, "label": targets}, KEY)
    assert float(metrics.loss_sum) == pytest.approx(float(sums.loss_sum), rel=1e-5)
    assert int(metrics.num_correct) == int(sums.num_correct)
    for one, other in zip(jax.tree.leaves(after.params), jax.tree.leaves(expected.params), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
