"""Good files, which the fuzzers damage."""

import json
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from mnist_jax.checkpoints.manifest import write_manifest
from mnist_jax.config.check import default_config
from mnist_jax.data.pictures.preparation import Preparation
from tests.data.conftest import SmallSet

MNIST = Preparation.of_data_set("mnist", (28, 28, 1))
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (12, 6, 6), np.uint8)


def npz_bytes() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        SmallSet(3, 2, 5).write_npz(Path(folder) / "data.npz")
        return (Path(folder) / "data.npz").read_bytes()


def csv_bytes() -> bytes:
    rows = ["label," + ",".join(f"pixel{i}" for i in range(36))]
    rows += [f"{i % 3}," + ",".join(map(str, image.ravel())) for i, image in enumerate(IMAGES)]
    return "\n".join(rows).encode()


def picture_bytes(kind: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        Image.fromarray(IMAGES[0]).convert("RGB").save(Path(folder) / "a", kind)
        return (Path(folder) / "a").read_bytes()


def make_step(step: Path) -> None:
    for name in ("state/arrays", "meta/metadata"):
        (step / name).parent.mkdir(parents=True)
        (step / name).write_bytes(b"{}")
    write_manifest(step, 7, {"accuracy": 0.5}, {"params/kernel": "float32[2,3]"})


NPZ = npz_bytes()
PICTURES = [
    picture_bytes(kind) for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "TGA", "AVIF")
]

DATASET = {
    "name": "mnist_5k",
    "source": "embedded",
    "num_train": 1400,
    "num_test": 1000,
    "sha256": "5" * 64,
    "test_sha256": "d" * 64,
    "preparation": {"form": "mnist", "image_shape": [28, 28, 1], "box": 20},
}
RUN = {"dataset": DATASET, "image_shape": [28, 28, 1], "class_names": list("0123456789")}
SUMMARY = {
    "dataset": DATASET,
    "test_accuracy": 0.9,
    "test_errors": 97,
    "confusion_matrix": [[97, 3], [0, 100]],
}
LINE = {"step": 86, "epoch": 2, "split": "validation", "loss": 0.286, "accuracy": 0.92}
DEFAULT = json.loads(default_config().to_json())
