"""PyTorch with the channels innermost."""

from benchmarks.contenders import Runner, Work

TITLE = "PyTorch channels_last"
PACKAGES = ("torch",)


def build(work: Work) -> Runner:
    """Builds the loop with weights and images laid out as NHWC."""
    from benchmarks.contenders import torch_shared

    return torch_shared.build(work, channels_last=True)
