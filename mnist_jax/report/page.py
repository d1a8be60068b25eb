"""The page: a run as one HTML file that needs nothing else."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mnist_jax.data import Splits
    from mnist_jax.report.record import Predictions, RunRecord
    from mnist_jax.run.load import LoadedModel

REPORT_FILE = "report.html"


def write_report(
    workdir: str | os.PathLike[str],
    *,
    splits: "Splits | None" = None,
    variables: dict[str, Any] | None = None,
    model: "LoadedModel | None" = None,
    images: Sequence[int] = (),
) -> Path:
    """Writes ``report.html`` into the folder of a run, finished or not.

    Where the data or a checkpoint cannot be had, the report is written all the same and says so in the place
    of what is missing.

    Args:
        workdir: the folder of the run.
        splits: the data of the run, or None to load it.
        variables: ``{"params", "batch_stats"}`` to look at, or None to restore the latest checkpoint.
        model: the network to look at, or None to make the one that the run names.
        images: indices into the test set of the images whose activations are shown, or empty for one each of
            four classes.

    Returns:
        The file, absolute.

    Raises:
        RunError: ``workdir`` is not the folder of a run, one of its files is damaged, there is no test image
            of such an index, or the report cannot be written.
    """
    from mnist_jax.errors import MnistJaxError
    from mnist_jax.report.record import answer_test_set, read_run
    from mnist_jax.storage.json_files import replace_file

    record = read_run(Path(workdir))
    predictions, missing = None, ""
    try:
        predictions = answer_test_set(record, splits, variables, model)
    except MnistJaxError as error:
        missing = str(error)
    path = record.folder / REPORT_FILE
    replace_file(path, _render(record, predictions, missing, images).encode("utf-8", "backslashreplace"))
    return path


def _render(
    record: "RunRecord", predictions: "Predictions | None", missing: str, images: Sequence[int]
) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    with _own_backend():
        from mnist_jax.report import images as report_pictures
        from mnist_jax.report import sections as report_sections

    templates = Environment(
        loader=PackageLoader("mnist_jax.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pictures = {}
    if predictions is not None:
        pictures = {
            "calibration": report_sections.calibration(predictions),
            "grids": report_pictures.grids(predictions),
            "augmented": report_pictures.augmented(predictions),
            "filters": report_pictures.filters(predictions),
            "activations": report_pictures.activations(predictions, images),
            "pictures_step": predictions.model.step,
        }
    return templates.get_template("report.html").render(
        name=record.folder.name,
        record=record,
        missing=missing,
        pictures=pictures,
        gray=record.run["image_shape"][-1] == 1,
        headline=report_sections.headline(record),
        curves=report_sections.curves(record),
        classes=report_sections.classes(record, predictions),
        config=report_sections.config_groups(record),
        environment=report_sections.environment(record),
        commands=report_sections.commands(record),
    )


@contextlib.contextmanager
def _own_backend() -> Iterator[None]:
    """Imports matplotlib without a notebook's ``MPLBACKEND``, which may not be installed here.

    Figures are drawn by no backend but that of their file.
    """
    variable = os.environ.pop("MPLBACKEND", None)
    try:
        yield
    finally:
        if variable is not None:
            os.environ["MPLBACKEND"] = variable
