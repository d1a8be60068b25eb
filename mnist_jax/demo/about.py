"""Facts about the network for the page."""

import os
from pathlib import Path
from typing import Any

from mnist_jax.demo.recognition import Recognizer
from mnist_jax.errors import RunError
from mnist_jax.storage.json_files import read_summary


def describe_model(workdir: str | os.PathLike[str], recognizer: Recognizer) -> dict[str, Any]:
    """Returns facts about a run as plain JSON values, without any path of this machine.

    Returns:
        ``class_names``, ``image_shape``, ``num_maps`` (of the first layer), ``reads_pages`` (whether several
        digits in a picture are read), ``step``, ``run`` (name of its folder), ``dataset``, ``notice`` (empty,
        or that the run fell back to other data), ``num_test`` and ``test_accuracy`` (a fraction, None where
        the run did not end at this step).
    """
    model = recognizer.model
    dataset = model.run["dataset"]
    return {
        "class_names": list(model.class_names),
        "image_shape": list(model.image_shape),
        "num_maps": recognizer.num_maps,
        "reads_pages": recognizer.reads_pages,
        "step": model.step,
        "run": Path(os.path.abspath(workdir)).name,
        "dataset": dataset["name"],
        "notice": dataset.get("notice", ""),
        "num_test": dataset.get("num_test"),
        "test_accuracy": _test_accuracy(Path(workdir), model.step),
    }


def _test_accuracy(workdir: Path, step: int) -> float | None:
    try:
        summary = read_summary(workdir)
    except RunError:  # the page can do without
        return None
    if summary.get("final_step") != step:
        return None
    accuracy = summary.get("test_accuracy")
    return accuracy if isinstance(accuracy, float) else None
