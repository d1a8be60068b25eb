"""What tells digits from other ink: its features, and what the fitted weights make of them."""

import numpy as np
import pytest

from mnist_jax.data.embedded import load_embedded
from mnist_jax.data.pictures import rejector
from mnist_jax.data.pictures.mnist_form import to_mnist
from tests.data.pictures.test_doubt import inked


def test_directions_tell_how_strokes_run():
    upright, lying = inked((4, 24, 12, 15)), inked((12, 15, 4, 24))
    features = rejector.directions(np.stack([upright, lying, upright // 2, np.zeros_like(upright)]))
    assert features.shape == (4, 9 * 9 * 8) and features.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), [1, 1, 1, 0], atol=1e-5)
    np.testing.assert_allclose(features[0], features[2], atol=0.03)  # the pen's darkness does not matter
    by_direction = (features[:2].reshape(2, 81, 8) ** 2).sum(axis=1)
    assert by_direction[0].argmax() == 0 and by_direction[1].argmax() == 4


def test_few_digits_are_taken_for_none():
    digits = load_embedded().train.images[:1000, ..., 0]
    none = rejector.non_digit_probability(digits)
    assert none.shape == (1000,) and none.dtype == np.float32 and (none >= 0).all() and (none <= 1).all()
    assert (none > 0.5).mean() <= 0.01


def zigzag(canvas):
    for column in range(200):
        row = 100 + abs(column % 60 - 30) * 4 - 60
        canvas[row : row + 12, 10 + column : 20 + column] = 0.0


def star(canvas):
    rows, columns = np.mgrid[:220, :220] - 110
    for turn in np.pi * np.arange(3) / 3:
        canvas[(abs(rows * np.cos(turn) + columns * np.sin(turn)) < 6) & (np.hypot(rows, columns) < 80)] = 0.0


def ladder(canvas):
    canvas[20:200, [*range(60, 70), *range(150, 160)]] = 0.0
    for row in range(40, 200, 40):
        canvas[row : row + 10, 60:160] = 0.0


@pytest.mark.parametrize("draw", [zigzag, star, ladder])
def test_other_drawings_are(draw):
    canvas = np.ones((220, 220))
    draw(canvas)
    assert rejector.non_digit_probability(to_mnist(canvas)[None, ..., 0])[0] > 0.5


def test_weights_in_half_precision_are_kept(tmp_path, monkeypatch):
    weights = rejector._weights()
    monkeypatch.setattr(rejector, "REJECTOR_FILE", tmp_path / "rejector.npz")
    rejector.write(rejector.Weights(*(2 * array for array in weights)))
    again = rejector._weights()
    rejector._weights.cache_clear()
    np.testing.assert_array_equal(again.hidden, 2 * weights.hidden)
    assert again.hidden.dtype == np.float32 and again.output.shape[1] == 11
