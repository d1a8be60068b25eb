"""Many seeds of one configuration, from a program."""

import os
import tempfile
from collections.abc import Iterable
from typing import Any

from mnist_jax.api.settings import Config, merge_settings
from mnist_jax.config.seeds import parse_seeds
from mnist_jax.runtime.compilation import enable_compile_cache
from mnist_jax.runtime.signals import Interrupt
from mnist_jax.studies.seeds import run_study
from mnist_jax.studies.trainer import Stopped
from mnist_jax.terminal.notebook import make_console


def study(
    config: Config | None = None,
    seeds: str | Iterable[int] = "0:5",
    *,
    split: str = "validation",
    workdir: str | os.PathLike[str] | None = None,
    side_by_side: int = 0,
    progress: bool = True,
    **settings: Any,
) -> dict[str, Any]:
    """Trains a configuration with many seeds and returns mean, spread and interval of the accuracy.

    Args:
        config: a name such as ``"default"``, a file, or a ConfigDict; None for ``"default"``.
        seeds: ``"0:30"``, ``"3,5,8"``, or numbers.
        split: ``"validation"`` while choosing, or ``"cv"`` for five folds of the training images, each held
            out in its turn; ``"test"`` once all is chosen.
        workdir: the folder of the study, where an interrupted one goes on; None for a temporary one.
        side_by_side: members trained at once; 0 for as many as the device has room for.
        progress: whether to show what happens.
        **settings: as in `train`.

    Returns:
        as in the ``summary.json`` of a study: ``["statistics"]["accuracy"]`` has ``mean``, ``sd``, ``se``,
        ``n`` and more. See docs/studies.md.

    Raises:
        ConfigError: a setting or the seeds are wrong.
        DataError: the data is missing or damaged.
        RunError: the folder, the device or the numbers are at fault.
        KeyboardInterrupt: Ctrl-C; the finished seeds are in ``workdir``, and the same call goes on.
    """
    checked = merge_settings(config, settings)
    numbers = parse_seeds(seeds if isinstance(seeds, str) else ",".join(str(int(seed)) for seed in seeds))
    console = make_console(progress)
    enable_compile_cache(console.note)
    with tempfile.TemporaryDirectory(prefix="mnist_jax-") as temporary:
        try:
            return run_study(
                checked,
                numbers,
                os.fspath(workdir or temporary),
                split=split,
                side_by_side=side_by_side,
                console=console,
                stop=Interrupt(),
            )
        except Stopped as stopped:
            raise KeyboardInterrupt(str(stopped)) from None
