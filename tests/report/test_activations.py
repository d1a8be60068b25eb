import jax
import jax.numpy as jnp
import numpy as np

from mnist_jax.models.simple_cnn import SimpleCNN
from mnist_jax.report.activations import layer_outputs


def test_layers_come_in_the_order_of_the_network_and_end_in_its_logits(
    tiny_model, make_tiny_state, tiny_data
):
    variables = make_tiny_state().eval_variables()
    images = tiny_data[0][:5]
    outputs = layer_outputs(tiny_model, variables, images)
    names = [name for name in outputs if name.startswith(("conv", "bn", "relu", "dense", "head"))]
    assert names == ["conv0", "bn0", "relu0", "conv1", "bn1", "relu1", "dense", "bn2", "relu2", "head"]
    np.testing.assert_array_equal(outputs["relu1"], np.maximum(outputs["bn1"], 0))
    logits = tiny_model.apply(variables, jnp.asarray(images / np.float32(255)), train=False)
    np.testing.assert_allclose(outputs["head"], logits, rtol=1e-5, atol=1e-6)


def test_a_batch_norm_at_the_very_end_has_no_relu():
    model = SimpleCNN(3, features=(2, 2), kernel_size=3, conv="gemm")
    images = np.zeros((1, 9, 9, 1), np.uint8)
    shapes = jax.eval_shape(model.init, jax.random.key(0), images.astype(np.float32))
    variables = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    names = [name for name in layer_outputs(model, variables, images) if "/" not in name]
    assert [name for name in names if name.startswith(("bn", "relu"))] == [
        "bn0",
        "relu0",
        "bn1",
        "relu1",
        "bn2",
    ]
