"""``python -m mnist_jax.report``: a run as one HTML file that needs nothing else (floor 6)."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnist_jax import cli

if TYPE_CHECKING:
    from mnist_jax.data import Splits
    from mnist_jax.report_run import Answers, RunRecord

REPORT_FILE = "report.html"

COMMAND = cli.Command(
    "python -m mnist_jax.report",
    "Writes DIR/report.html: results, curves, mistakes, what the network sees, and how to have it all once\n"
    "more, in one file that opens from disk.",
    (
        cli.WORKDIR,
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
)


def write_report(
    workdir: str | os.PathLike[str],
    *,
    splits: "Splits | None" = None,
    variables: dict[str, Any] | None = None,
    images: Sequence[int] = (),
) -> Path:
    """Writes ``report.html`` into the folder of a run, finished or not.

    Where the data or a checkpoint cannot be had, the report is written all the same and says so in the place
    of what is missing.

    Args:
        workdir: the folder of the run.
        splits: the data of the run, or None to load it.
        variables: ``{"params", "batch_stats"}`` to look at, or None to restore the latest checkpoint.
        images: indices into the test set of the images whose activations are shown, or empty for one each of
            four classes.

    Returns:
        The file, absolute.

    Raises:
        RunError: ``workdir`` is not the folder of a run, one of its files is damaged, there is no test image
            of such an index, or the report cannot be written.
    """
    from mnist_jax.errors import MnistJaxError
    from mnist_jax.report_run import answer_test_set, read_run
    from mnist_jax.run_files import replace_file

    record = read_run(Path(workdir))
    answers, missing = None, ""
    try:
        answers = answer_test_set(record, splits, variables)
    except MnistJaxError as error:
        missing = str(error)
    path = record.folder / REPORT_FILE
    replace_file(path, _render(record, answers, missing, images).encode())
    return path


def _render(record: "RunRecord", answers: "Answers | None", missing: str, images: Sequence[int]) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    from mnist_jax import report_pictures, report_sections

    templates = Environment(
        loader=PackageLoader("mnist_jax"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pictures = {}
    if answers is not None:
        pictures = {
            "calibration": report_sections.calibration(answers),
            "grids": report_pictures.grids(answers),
            "augmented": report_pictures.augmented(answers),
            "filters": report_pictures.filters(answers),
            "activations": report_pictures.activations(answers, images),
            "pictures_step": answers.model.step,
        }
    return templates.get_template("report.html").render(
        name=record.folder.name,
        record=record,
        missing=missing,
        pictures=pictures,
        grey=record.run["image_shape"][-1] == 1,
        headline=report_sections.headline(record),
        curves=report_sections.curves(record),
        classes=report_sections.classes(record, answers),
        config=report_sections.config_groups(record),
        environment=report_sections.environment(record),
        commands=report_sections.commands(record),
    )


def main(arguments: cli.Arguments) -> int:
    """Writes the report of one run and says where it is."""
    from mnist_jax.compile_cache import enable_compile_cache

    enable_compile_cache(lambda note: print(note, file=sys.stderr))
    images = [int(word) for word in arguments["images"].split(",") if word]
    splits = _load(arguments["workdir"], arguments["data_dir"]) if arguments["data_dir"] else None
    print(write_report(arguments["workdir"], splits=splits, images=images))
    return 0


def _load(workdir: str, data_dir: str) -> "Splits":
    from mnist_jax.data import load_splits
    from mnist_jax.run_files import read_config

    return load_splits(read_config(workdir)[0]["data"]["name"], data_dir=data_dir)


if __name__ == "__main__":
    cli.run_and_exit(main, COMMAND)
