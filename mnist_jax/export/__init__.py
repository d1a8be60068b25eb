"""``python -m mnist_jax.export``: a trained network as a file that other programs can load."""
