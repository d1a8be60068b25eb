"""PyTorch with ``torch.compile``; on a GPU in the mode that captures CUDA graphs itself."""

import atexit
import os
import shutil
import tempfile

from benchmarks.contenders import Runner, Work

TITLE = "PyTorch torch.compile"
PACKAGES = ("torch",)


def build(work: Work, *, channels_last: bool = False) -> Runner:
    """Builds the loop with a compiled network, in a cache of its own."""
    # PyTorch does not mend what a compilation that was killed left in the shared cache.
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    import torch

    from benchmarks.contenders import torch_shared

    mode = "reduce-overhead" if torch.cuda.is_available() else "default"
    return torch_shared.build(
        work,
        channels_last=channels_last,
        compile_forward=lambda network: torch.compile(network, mode=mode),
    )
