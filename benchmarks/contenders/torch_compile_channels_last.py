"""PyTorch with ``torch.compile`` and the channels innermost."""

from benchmarks.contenders import Runner, Work
from benchmarks.contenders.torch_compile import build as build_compiled

TITLE = "PyTorch torch.compile channels_last"
PACKAGES = ("torch",)


def build(work: Work) -> Runner:
    """Builds the loop with a compiled network whose weights and images are laid out as NHWC."""
    return build_compiled(work, channels_last=True)
