"""Networks of one's own are computed without XLA's convolution; those of the package as they are."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from mnist_jax.models.forward import forward_fn


class Strided(nn.Module):
    features: int

    @nn.compact
    def __call__(self, x, train=False):
        return nn.Conv(self.features, (3, 3), strides=2)(x).mean((1, 2))


def test_a_network_of_ones_own_needs_no_convolution_of_xla():
    model, images = Strided(4), jnp.ones((2, 8, 8, 1))
    variables = model.init(jax.random.key(0), images)
    run = forward_fn(model)
    np.testing.assert_allclose(run(variables, images), model.apply(variables, images), rtol=1e-5)
    (logits, updates) = run(variables, images, train=True, rngs={"dropout": jax.random.key(1)}, mutable=["b"])
    assert logits.shape == (2, 4) and updates == {}
    assert "conv_general" in str(jax.make_jaxpr(model.apply)(variables, images))
    assert "conv_general" not in str(jax.make_jaxpr(run)(variables, images))


def test_equal_networks_have_one_function_and_those_of_the_package_their_own(tiny_model):
    assert forward_fn(Strided(4)) is forward_fn(Strided(4))
    assert forward_fn(Strided(4)) is not forward_fn(Strided(5))
    run = forward_fn(tiny_model)  # that of an equal network, where a test before this one asked for it
    assert run.__self__ == tiny_model and run.__func__ is type(tiny_model).apply


def test_on_other_devices_xla_convolves(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    model = Strided(6)
    assert forward_fn(model) == model.apply
