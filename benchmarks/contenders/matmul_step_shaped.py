"""A product of the shape of the article's second convolution: very many rows, few columns."""

from benchmarks.contenders import Runner, Work

TITLE = "step-shaped product"
PACKAGES = ("jax",)


def build(work: Work) -> Runner:
    """One row for each pixel that the convolution reads, 3 x 32 columns."""
    from benchmarks.contenders import matmul_shared

    return matmul_shared.build(work, work.batch_size * 26 * 24, 96)
