import jax.numpy as jnp
import numpy as np

from mnist_jax.report.activations import layer_outputs


def test_layers_come_in_the_order_of_the_network_and_end_in_its_logits(
    tiny_model, make_tiny_state, tiny_data
):
    variables = make_tiny_state().eval_variables()
    images = tiny_data[0][:5]
    outputs = layer_outputs(tiny_model, variables, images)
    assert list(outputs) == ["conv0", "conv1", "dense", "Dropout_0", "head"]
    assert outputs["conv1"].min() == 0.0 < outputs["conv1"].max()
    logits = tiny_model.apply(variables, jnp.asarray(images / np.float32(255)), train=False)
    np.testing.assert_allclose(outputs["head"], logits, rtol=1e-5, atol=1e-6)
