"""``python -m mnist_jax.report``: a run as one HTML file that needs nothing else."""

import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from mnist_jax import cli
from mnist_jax.errors import ConfigError

if TYPE_CHECKING:
    from mnist_jax.data import Splits

COMMAND = cli.Command(
    "python -m mnist_jax.report",
    "Writes DIR/report.html for a run, a study, an ensemble or pseudo labels: results, curves, mistakes,\n"
    "what the network sees, and how to have it all once more, in one file that opens from disk.",
    (
        replace(cli.WORKDIR, description="folder of the run; DIR alone is enough", required=False),
        cli.Flag(
            "images",
            "",
            "test images whose activations are shown, such as 0,18,61; empty = one each of four classes",
            pattern=r"(\d{1,9}(,\d{1,9}){0,7})?",
            pattern_means="up to eight whole numbers with commas between them",
            metavar="I,J,...",
        ),
        cli.Flag("data_dir", "", "folder with the data; empty = as the run had it", metavar="DIR"),
    ),
    positional="DIR",
    positional_description="folder of a run, a study, an ensemble or pseudo labels",
)


def main(arguments: cli.Arguments) -> int:
    """Writes the report of one folder and says where it is."""
    folders = [folder for folder in (arguments["workdir"], *arguments.positional) if folder]
    if len(folders) != 1:
        raise ConfigError([f"DIR: {len(folders)} given; expected one folder, as in --workdir runs/default"])
    from mnist_jax.report.page import write_report
    from mnist_jax.runtime.compilation import enable_compile_cache
    from mnist_jax.terminal.format import printable

    enable_compile_cache(lambda note: print(note, file=sys.stderr))
    images = [int(word) for word in arguments["images"].split(",") if word]
    splits = _load(folders[0], arguments["data_dir"]) if arguments["data_dir"] else None
    path = write_report(folders[0], splits=splits, images=images)
    arguments.print_json({"report": path})
    print(printable(str(path)))
    return 0


def _load(workdir: str, data_dir: str) -> "Splits":
    from mnist_jax.config.check import from_dict
    from mnist_jax.run.datasets import load_recorded
    from mnist_jax.storage.json_files import read_config

    config, run = read_config(workdir)
    return load_recorded(from_dict(config), run, data_dir)


if __name__ == "__main__":
    cli.run_and_exit(main, COMMAND)
