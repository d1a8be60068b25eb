"""A large square product: the best case for any device."""

from benchmarks.contenders import Runner, Work

TITLE = "square product"
PACKAGES = ("jax",)


def build(work: Work) -> Runner:
    """Larger on an accelerator, where a small one cannot fill the device."""
    import jax

    from benchmarks.contenders import matmul_shared

    width = 1024 if jax.default_backend() == "cpu" else 8192
    return matmul_shared.build(work, width, width)
