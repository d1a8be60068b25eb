"""PyTorch as it comes."""

from benchmarks.contenders import Runner, Work

TITLE = "PyTorch eager"
PACKAGES = ("torch",)


def build(work: Work) -> Runner:
    """Builds the plain training loop."""
    from benchmarks.contenders import torch_shared

    return torch_shared.build(work)
