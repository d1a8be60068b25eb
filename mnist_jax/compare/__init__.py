"""``python -m mnist_jax.compare``: several runs on one HTML page."""
