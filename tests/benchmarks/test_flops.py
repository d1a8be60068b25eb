"""The count of floating-point operations: by hand, and as XLA counts them."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from benchmarks.flops import count_forward_flops, count_multiplied_flops, count_step_flops
from mnist_jax.models.registry import create_model
from mnist_jax.ops.native.library import is_available

# Multiply-adds of one image, from the shapes of the article's network.
ARTICLE = [
    26 * 26 * 9 * 32,
    24 * 24 * 288 * 32,
    10 * 10 * 288 * 64,
    8 * 8 * 576 * 64,
    1024 * 512,
    512 * 10,
]


def test_forward_of_the_articles_network_is_what_its_shapes_give():
    assert count_forward_flops(create_model("cnn", 10), (28, 28, 1)) == [2 * m for m in ARTICLE]


def test_a_step_is_three_times_forward_without_the_gradient_to_the_images():
    assert count_step_flops(create_model("cnn", 10), (28, 28, 1), 64) == 64 * 2 * (
        3 * sum(ARTICLE) - ARTICLE[0]
    )


def test_the_way_of_computing_does_not_change_the_count():
    by_gemm, by_lax = (
        count_step_flops(create_model("cnn", 10, conv=way), (28, 28, 1), 8) for way in ("gemm", "lax")
    )
    assert by_gemm == by_lax


@pytest.mark.parametrize("conv", ["native", "gemm"])
def test_winograd_multiplies_a_third_of_what_the_article_s_convolutions_need(conv):
    """By hand, multiply-adds of an image: 36 places a 4x4 tile for Winograd's, and three products each."""
    winograd = 3 * 36 * (6 * 6 * 32 * 32 + 3 * 3 * 32 * 64 + 2 * 2 * 64 * 64)
    dense = 3 * (1024 * 512 + 512 * 10)
    if conv == "native" and is_available():
        # The first convolution: the result and the kernel's gradient.
        first, once = 26 * 26 * 9 * (32 + 32), 0
    else:
        # Of patches with a one behind: their moments, the result, the kernel's gradient. Its mean and spread
        # are small products once a batch.
        first, once = 26 * 26 * 10 * (10 + 32 + 32), 9 * 32 + 9 * 9 * 32
    model = create_model("cnn", 10, conv=conv)
    counted = count_multiplied_flops(model, (28, 28, 1), 64)
    assert counted == 2 * (64 * (winograd + dense + first) + once)
    assert counted / count_step_flops(model, (28, 28, 1), 64) == pytest.approx(0.32, abs=0.003)


def test_what_xla_multiplies_is_not_known_where_it_chooses_the_convolution():
    assert count_multiplied_flops(create_model("cnn", 10, conv="lax"), (28, 28, 1), 8) is None


def test_xla_counts_the_same_for_products_alone():
    def products(images, kernel, weights):
        x = lax.conv_general_dilated(
            images, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        return jnp.dot(x.reshape(x.shape[0], -1), weights)

    arguments = (jnp.ones((4, 9, 9, 3)), jnp.ones((3, 3, 3, 5)), jnp.ones((7 * 7 * 5, 6)))
    counted = jax.jit(products).lower(*arguments).cost_analysis()["flops"]
    assert counted == 2 * 4 * (49 * 27 * 5 + 245 * 6)


def test_a_whole_step_is_what_xla_counts_but_for_elementwise_work():
    model = create_model("cnn", 10, conv="lax")
    images = jnp.ones((16, 28, 28, 1))
    variables = jax.jit(model.init)(jax.random.key(0), images)

    def loss(params):
        logits, _ = model.apply(
            {**variables, "params": params},
            images,
            train=True,
            rngs={"dropout": jax.random.key(0)},
            mutable=["batch_stats"],
        )
        return jnp.sum(jax.nn.log_softmax(logits)[:, 0])

    by_xla = jax.jit(jax.grad(loss)).lower(variables["params"]).cost_analysis()["flops"]
    counted = count_step_flops(model, (28, 28, 1), 16)
    assert counted == pytest.approx(by_xla, rel=0.06)
    assert counted < by_xla
