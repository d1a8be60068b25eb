"""What a block is in evaluation equals its parts one after another, however it is lowered."""

import jax
import numpy as np
import pytest

from mnist_jax.ops.conv_relu import conv_relu
from mnist_jax.ops.winograd import is_profitable
from tests.ops.test_convolution import make_case, reference


@pytest.mark.parametrize("implementation", ["native", "gemm", "fused", "lax"])
@pytest.mark.parametrize("pool", [False, True])
@pytest.mark.parametrize(
    ("shape", "in_tiles"),
    [
        ((2, 7, 8, 3, 3, 2, 5), False),
        ((2, 8, 7, 3, 3, 4, 5), False),
        ((2, 19, 18, 3, 3, 32, 33), True),
    ],
    ids=["few numbers a patch", "many numbers a patch", "Winograd, a row that no pool takes"],
)
def test_equals_a_convolution_a_bias_relu_and_pooling(shape, in_tiles, pool, implementation):
    images, kernel, cotangent = make_case(shape)
    assert is_profitable(images, kernel) == in_tiles
    bias = np.linspace(-1, 1, shape[-1], dtype=np.float32)
    expected = np.maximum(reference(images, kernel, cotangent)[0] + bias, 0)
    if pool:
        height, width = (side // 2 for side in expected.shape[1:3])
        tiles = expected[:, : 2 * height, : 2 * width].reshape(len(images), height, 2, width, 2, -1)
        expected = tiles.max((2, 4))
    found = jax.jit(conv_relu, static_argnames=("pool", "implementation"))(
        images, kernel, bias, pool=pool, implementation=implementation
    )
    assert found.shape == expected.shape and 0.2 < np.mean(expected > 0) < 0.99
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * expected.max())
