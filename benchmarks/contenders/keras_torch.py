"""Keras 3 on PyTorch."""

from benchmarks.contenders import Runner, Work

TITLE = "Keras on PyTorch"
PACKAGES = ("keras", "torch")


def build(work: Work) -> Runner:
    """Builds the Keras model on this backend."""
    import torch

    from benchmarks.contenders import keras_shared

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = work.dtype != "float32"

    def describe() -> str:
        return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"

    return keras_shared.build(work, "torch", describe, ("torch",))
