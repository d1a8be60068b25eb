"""PyTorch with ``torch.compile``; on a GPU in the mode that captures CUDA graphs itself."""

from benchmarks.contenders import Runner, Work

TITLE = "PyTorch torch.compile"
PACKAGES = ("torch",)


def build(work: Work) -> Runner:
    """Builds the loop with a compiled network."""
    import torch

    from benchmarks.contenders import torch_shared

    mode = "reduce-overhead" if torch.cuda.is_available() else "default"
    return torch_shared.build(work, compile_forward=lambda network: torch.compile(network, mode=mode))
