"""PyTorch with the whole step captured in one CUDA graph."""

from benchmarks.contenders import Runner, Unavailable, Work

TITLE = "PyTorch CUDA graph"
PACKAGES = ("torch",)


def build(work: Work) -> Runner:
    """Captures the step.

    Raises:
        Unavailable: without a CUDA device.
    """
    import torch

    from benchmarks.contenders import torch_shared

    if not torch.cuda.is_available():
        raise Unavailable("no CUDA device")
    return torch_shared.build(work, channels_last=True, capture_graph=True)
