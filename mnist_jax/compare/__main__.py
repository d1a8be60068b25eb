"""``python -m mnist_jax.compare``: several runs on one HTML page that needs nothing else."""

import sys

from mnist_jax import cli
from mnist_jax.errors import ConfigError

MOST_RUNS = 8

COMMAND = cli.Command(
    "python -m mnist_jax.compare",
    "Writes two to eight runs or ensembles on one page: curves, settings that differ, results, McNemar's\n"
    "exact test on the same test images, and the images on which they differ.",
    (
        cli.Flag("output", "compare.html", "the page", non_empty=True, metavar="FILE"),
        cli.Flag("data_dir", "", "folder with the data; empty = as each run had it", metavar="DIR"),
    ),
    positional="RUN",
    positional_description="folders of runs or ensembles, two to eight",
)


def main(arguments: cli.Arguments) -> int:
    """Writes the page and says where it is and what came out."""
    if not 2 <= len(arguments.positional) <= MOST_RUNS:
        given = len(arguments.positional)
        raise ConfigError([f"RUN: {given} given; expected the folders of two to {MOST_RUNS} runs"])
    from pathlib import Path

    from mnist_jax.compare.comparison import compare_runs
    from mnist_jax.compare.page import write_page
    from mnist_jax.runtime.compilation import enable_compile_cache

    enable_compile_cache(lambda note: print(note, file=sys.stderr))
    comparison = compare_runs(arguments.positional, arguments["data_dir"])
    page = write_page(comparison, Path(arguments["output"]))
    arguments.print_json({"page": page, **comparison.as_dict()})
    for line in comparison.describe():
        print(line)
    print(page)
    return 0


if __name__ == "__main__":
    cli.run_and_exit(main, COMMAND)
