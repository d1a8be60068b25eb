"""Training from a program, on its own arrays or on what a configuration names."""

import contextlib
import os
import shutil
import tempfile
import weakref
from pathlib import Path
from typing import Any

import optax

from mnist_jax.api.arrays import check_arrays, keep_arrays, longer_side, read_arrays
from mnist_jax.api.settings import Config, is_config, merge_settings
from mnist_jax.api.trained import TrainedRun
from mnist_jax.config.schema import FIELDS_BY_NAME
from mnist_jax.errors import ConfigError
from mnist_jax.models.own import find_reference
from mnist_jax.run.loop import train_and_evaluate
from mnist_jax.runtime.compilation import enable_compile_cache
from mnist_jax.runtime.signals import Interrupt
from mnist_jax.terminal.notebook import make_console


def train(
    images: Any = None,
    labels: Any = None,
    *,
    test: tuple[Any, Any] | None = None,
    config: Config | None = None,
    workdir: str | os.PathLike[str] | None = None,
    progress: bool = True,
    model: Any = None,
    optimizer: optax.GradientTransformation | str | None = None,
    init_from: str | os.PathLike[str] | None = None,
    **settings: Any,
) -> TrainedRun:
    """Trains a network and evaluates it on a test set.

    ::

        run = mnist_jax.train(images, labels, test=(test_images, test_labels))
        run = mnist_jax.train("default", num_epochs=3, **{"optim.learning_rate": 2e-3})

    Ctrl-C ends the training after the step under way, and what was learned so far is returned.

    Args:
        images: uint8 ``[N, H, W]`` or ``[N, H, W, 1 or 3]``, or floating point in [0, 1]; or a configuration,
            whose data is then used: a name such as ``"default"``, a file, or a ConfigDict.
        labels: ``[N]``, whole numbers from 0, or names.
        test: ``(images, labels)`` to measure on; where it is left out a fifth is drawn over all classes, the
            same fifth every time.
        config: the configuration for arrays; ``"default"`` where there is none. Its ``data`` is not used.
        workdir: the folder of the run, where an interrupted one goes on; None for a temporary one, which
            goes with the result.
        progress: whether to show what happens.
        model: a network of your own, a flax.linen module or its class; or a ``model.name``. See
            docs/your_own.md.
        optimizer: any optax.GradientTransformation, its learning rate inside; or an ``optim.name``.
        init_from: the folder of a run, or one of its checkpoints, whose weights are taken: ``init.run``. See
            docs/fine_tuning.md.
        **settings: fields of the configuration that are to be other than in ``config``.

    Returns:
        the run; ``run.summary["test_accuracy"]``, ``run.model.predict(images)`` and more.

    Raises:
        ConfigError: a setting, the network or the optimizer is wrong.
        DataError: the arrays are wrong, or the data that a configuration names is missing.
        RunError: the folder, the device or the numbers are at fault.
        CheckpointError: a checkpoint cannot be written, or is not of this run.
        KeyboardInterrupt: Ctrl-C before the first step, or a second one.
    """
    if is_config(images):
        if config is not None or labels is not None or test is not None:
            raise ConfigError(
                [f"got the configuration {images!r:.60} and data or another one; expected images first"]
            )
        images, config = None, images
    parts = None if images is None else read_arrays(images, labels, test)
    if parts is None and (labels is not None or test is not None):
        raise ConfigError(["got labels without images; expected train(images, labels)"])
    settings, given = _name_model(model, dict(settings))
    if init_from is not None:
        settings["init.run"] = os.fspath(init_from)
    tx = optimizer if isinstance(optimizer, optax.GradientTransformation) else None
    if tx is None and optimizer is not None:
        if not isinstance(optimizer, str):
            raise ConfigError(
                [f"optimizer: got {optimizer!r:.60}; expected an optax.GradientTransformation or a name"]
            )
        settings["optim.name"] = optimizer

    data = (
        {}
        if parts is None
        else {name: f.default for name, f in FIELDS_BY_NAME.items() if name[:5] == "data."}
    )
    if parts is not None and model is not None and not isinstance(model, str):
        # A network of one's own is made for images as they are.
        data["data.image_size"] = longer_side(parts)
    checked = merge_settings(config, settings, data)
    if parts is not None:
        check_arrays(parts, checked.data.image_size)

    with contextlib.ExitStack() as failed:
        folder = Path(os.path.expanduser(workdir)).absolute() if workdir is not None else None
        if folder is None:
            folder = Path(tempfile.mkdtemp(prefix="mnist_jax-"))
            failed.callback(shutil.rmtree, folder, ignore_errors=True)
        if parts is not None:
            checked = merge_settings(checked, {"data.dir": str(keep_arrays(folder, parts))})
        console = make_console(progress)
        enable_compile_cache(console.note)
        result = train_and_evaluate(
            checked, str(folder), console, model=given, optimizer=tx, stop=Interrupt()
        )
        failed.pop_all()
    run = TrainedRun(result, folder, given, tx)
    if workdir is None:
        weakref.finalize(run, shutil.rmtree, folder, ignore_errors=True)
    return run


def _name_model(model: Any, settings: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    """The settings that name a network, and the network where it has to be given, too."""
    if model is None or isinstance(model, dict):
        return settings if model is None else {**settings, "model": model}, None
    if isinstance(model, str):
        return {**settings, "model.name": model}, None
    name, kwargs = find_reference(model)
    return {**settings, "model.name": name, "model.kwargs": kwargs}, model
