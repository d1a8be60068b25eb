"""A character in any disguise comes back in MNIST's form."""

import gzip

import numpy as np
import pytest
from PIL import Image

from mnist_jax.data.pictures.decode import load_image
from mnist_jax.data.pictures.mnist_form import to_mnist
from mnist_jax.errors import DataError
from tests.data.pictures.conftest import STROKES, draw, saved

resampling = Image.Resampling


def difference(result: np.ndarray, expected: np.ndarray) -> float:
    assert result.shape == (28, 28, 1)
    assert result.dtype == np.uint8
    return float(np.abs(result[..., 0].astype(int) - expected).mean())


def center_of_mass(image):
    grid = np.arange(28)
    return (image.sum(1) @ grid) / image.sum(), (image.sum(0) @ grid) / image.sum()


def test_box_and_center_are_those_of_mnist(digit):
    rows, columns = np.nonzero(digit > 25)
    assert max(np.ptp(rows), np.ptp(columns)) + 1 in (19, 20, 21)
    assert digit.max() == 255
    np.testing.assert_allclose(center_of_mass(digit.astype(float)), (14, 14), atol=0.55)


@pytest.mark.parametrize("negative", [False, True])
def test_mnist_form_passes_unchanged(digit, negative):
    gray = np.float32(255 - digit if negative else digit) / np.float32(255)
    np.testing.assert_array_equal(to_mnist(gray)[..., 0], digit)


@pytest.mark.parametrize("negative", [False, True])
@pytest.mark.parametrize("side", [56, 140, 180])
@pytest.mark.parametrize("resample", [resampling.NEAREST, resampling.BILINEAR, resampling.LANCZOS])
def test_resized_with_margins_is_recovered(digit, negative, side, resample):
    canvas = Image.new("L", (300, 200))
    canvas.paste(Image.fromarray(digit).resize((side, side), resample), (40, 10))
    gray = np.asarray(canvas) / 255
    assert difference(to_mnist(1 - gray if negative else gray), digit) < 14


@pytest.mark.parametrize("quality", [50, 75, 95])
def test_jpeg_is_recovered(digit, quality):
    for pixels in (digit, 255 - digit):
        assert (
            difference(to_mnist(load_image(saved(Image.fromarray(pixels), "JPEG", quality=quality))), digit)
            < 7
        )


@pytest.mark.parametrize(
    "kind", ["black ink", "white ink", "soft white", "soft black", "on white", "on black"]
)
def test_transparency_is_recovered(digit, kind):
    none, full = np.zeros_like(digit), np.full_like(digit, 255)
    hard = np.where(digit > 0, full, none)
    frame = np.pad(full[1:-1, 1:-1], 1)
    tone, alpha = {
        "black ink": (none, digit),
        "white ink": (full, digit),
        "soft white": (digit, hard),
        "soft black": (255 - digit, hard),
        "on white": (255 - digit, frame),
        "on black": (digit, frame),
    }[kind]
    picture = Image.fromarray(np.stack([tone, tone, tone, alpha], axis=-1))
    assert difference(to_mnist(load_image(saved(picture))), digit) < 1


def test_uneven_light_and_noise_are_taken_away(drawing, digit):
    rng = np.random.default_rng(0)
    ink = np.asarray(drawing) / 255
    across = np.linspace(-0.5, 0.5, ink.shape[1])
    photo = (0.75 + 0.2 * across - 0.15 * across[:, None]) * (1 - 0.7 * ink) + rng.normal(0, 0.02, ink.shape)
    photo[5:8, 5:8] = 0  # a speck of dirt
    assert difference(to_mnist(np.clip(photo, 0, 1)), digit) < 8


@pytest.mark.parametrize("name", STROKES)
def test_thin_pen_strokes_are_thickened(name):
    thin = to_mnist(np.asarray(draw(STROKES[name], pen=4)) / 255)
    thick = to_mnist(np.asarray(draw(STROKES[name], pen=56)) / 255)
    assert 0.5 < thin.mean() / thick.mean() < 1
    assert thin.max() > 200


def test_faint_ink_is_stretched(drawing, digit):
    faint = 0.5 + 0.1 * np.asarray(drawing) / 255
    assert difference(to_mnist(faint), digit) < 1


def test_other_sizes_scale_the_box(drawing):
    result = to_mnist(np.asarray(drawing) / 255, (56, 42, 1))
    assert result.shape == (56, 42, 1)
    rows, columns = np.nonzero(result[..., 0] > 25)
    assert abs(max(np.ptp(rows), np.ptp(columns)) + 1 - 30) <= 1


@pytest.mark.parametrize("tone", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("noise", [0.0, 0.03])
@pytest.mark.parametrize("shape", [(28, 28), (200, 300), (1, 1), (3, 1)])
def test_blank_pictures_are_refused(tone, noise, shape):
    rng = np.random.default_rng(0)
    gray = tone + (rng.normal(0, noise, shape) if min(shape) > 3 else 0)
    with pytest.raises(DataError, match="blank"):
        to_mnist(np.broadcast_to(gray, shape))


@pytest.mark.parametrize("gray", [np.zeros((4, 4, 3)), np.zeros((0, 4)), np.full((4, 4), np.nan)])
def test_to_mnist_wants_a_finite_plane(gray):
    with pytest.raises(Exception, match="finite numbers|[Tt]ype-check"):
        to_mnist(gray)


@pytest.mark.parametrize("every", [20, pytest.param(1, marks=pytest.mark.slow)])
def test_every_mnist_test_digit_gives_itself(real_mnist, every):
    matches = sorted(real_mnist.glob("t10k-images-idx3-ubyte*"))
    content = matches[0].read_bytes()
    content = gzip.decompress(content) if matches[0].suffix == ".gz" else content
    digits = np.frombuffer(content, np.uint8, offset=16).reshape(-1, 28, 28)[::every]
    changed = [i for i, digit in enumerate(digits) if (to_mnist(digit / 255)[..., 0] != digit).any()]
    assert not changed
