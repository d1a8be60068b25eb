"""``python -m mnist_jax.demo``: a page to draw on, answered by the network of a run."""
