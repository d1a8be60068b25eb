"""The page: a run, a study, an ensemble or pseudo labels as one HTML file that needs nothing else."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mnist_jax.data import Splits
    from mnist_jax.report.record import RunRecord
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
    """Writes ``report.html`` into the folder of a run, a study, an ensemble or pseudo labels.

    A run may be finished or not. Where the data or a checkpoint cannot be had, the report is written all the
    same and says so in the place of what is missing.

    Args:
        workdir: the folder.
        splits: the data, or None to load it.
        variables: of a run, ``{"params", "batch_stats"}`` to look at, or None to restore the latest
            checkpoint.
        model: of a run, the network to look at, or None to make the one that the run names.
        images: of a run, indices into the test set of the images whose activations are shown, or empty for
            one each of four classes.

    Returns:
        The file, absolute.

    Raises:
        RunError: ``workdir`` is no such folder, one of its files is damaged, there is no test image of such
            an index, or the report cannot be written.
    """
    from mnist_jax.errors import RunError
    from mnist_jax.report.record import read_run
    from mnist_jax.report.render import own_backend, render
    from mnist_jax.storage.json_files import replace_file

    record = read_run(Path(workdir))
    if record.kind not in ("run", "study", "ensemble", "pseudo_label"):
        raise RunError(
            f"{workdir} is of kind {record.kind!r}; expected a run, study, ensemble or pseudo_label"
        )
    with own_backend():
        if record.kind == "run":
            values = _describe_run(record, splits, variables, model, images)
        elif record.kind == "ensemble":
            from mnist_jax.report.ensemble import describe_ensemble

            values = describe_ensemble(record, splits)
        elif record.kind == "study":
            from mnist_jax.report.study import describe_study

            values = describe_study(record)
        else:
            from mnist_jax.report.pseudo_label import describe_pseudo_label

            values = describe_pseudo_label(record)
    path = record.folder / REPORT_FILE
    replace_file(path, render(f"{record.kind}.html", name=record.folder.name, record=record, **values))
    return path


def _describe_run(
    record: "RunRecord",
    splits: "Splits | None",
    variables: dict[str, Any] | None,
    model: "LoadedModel | None",
    images: Sequence[int],
) -> dict[str, Any]:
    from mnist_jax.errors import MnistJaxError
    from mnist_jax.report import images as report_pictures
    from mnist_jax.report import sections
    from mnist_jax.report.learning import learning
    from mnist_jax.report.predictions import answer_test_set
    from mnist_jax.run.epochs import read_epochs

    predictions, missing = None, ""
    try:
        predictions = answer_test_set(record, splits, variables, model)
    except MnistJaxError as error:
        missing = str(error)
    pictures: dict[str, Any] = {}
    if predictions is not None:
        card = report_pictures.Cards(predictions)
        pictures = {
            "alike": sections.measured_alike(predictions),
            "calibration": sections.calibration(predictions),
            "selective": sections.selective(predictions),
            "robustness": sections.robustness(predictions),
            "mistakes": report_pictures.mistakes(predictions, card),
            "hits": report_pictures.hits(predictions, card),
            "pairs": report_pictures.pairs(predictions, card),
            "augmented": report_pictures.augmented(predictions),
            "filters": report_pictures.filters(predictions),
            "activations": report_pictures.activations(predictions, images, card),
            "pictures_step": predictions.model.step,
        }
    confusion = sections.confusion_of(record, predictions)
    return {
        "missing": missing,
        "pictures": pictures,
        "ink": record.is_ink,
        "headline": sections.headline(record),
        "curves": sections.curves(record),
        "learning": learning(read_epochs(record.folder)),
        "classes": None if confusion is None else sections.classes(confusion, record.run["class_names"]),
        **sections.closing(record),
    }
