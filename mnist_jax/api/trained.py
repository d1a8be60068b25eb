"""What a training leaves a program: its figures, its network, its report."""

import functools
import html
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnist_jax.config.check import from_dict
from mnist_jax.run.load import LoadedModel, load, recorded_experiment, with_own_statistics
from mnist_jax.storage.json_files import read_config
from mnist_jax.storage.metrics_log import read_metrics
from mnist_jax.terminal.format import format_percent

if TYPE_CHECKING:
    import os

    from mnist_jax.run.loop import RunResult


class TrainedRun:
    """A training that has ended, or was stopped by Ctrl-C.

    Attributes:
        workdir: the folder of the run, absolute. Where none was given it is a temporary one, and goes when
            nothing refers to this object anymore.
        summary: as in ``summary.json``: ``test_accuracy`` (a fraction), ``test_errors``, ``test_loss`` and
            more, see docs/files_of_a_run.md; empty for a run that was stopped.
        finished: False for a run that was stopped. ``train`` with the same ``workdir`` goes on with it.
    """

    def __init__(self, result: "RunResult", workdir: Path, given: Any = None, optimizer: Any = None):
        """Keeps what a run ended with.

        Args:
            result: of the run.
            workdir: its folder.
            given: the network, where it was given.
            optimizer: the optimizer, where it was given.
        """
        self.workdir = workdir
        self.summary: dict[str, Any] = result.summary
        self.finished = bool(result.summary)
        self._state, self._given, self._optimizer = result.state, given, optimizer

    @functools.cached_property
    def model(self) -> LoadedModel:
        """The network as `mnist_jax.load` gives it: the best by validation, or where there is none the last.

        That of a run that was stopped is as the last step left it.

        Raises:
            CheckpointError: there is no checkpoint to load.
        """
        config, run = read_config(self.workdir)
        has_best = self.finished and run["dataset"]["num_validation"] and config["checkpoint"]["enabled"]
        if self._state is None or has_best:
            return load(self.workdir, "best", model=self._given, optimizer=self._optimizer)
        experiment = recorded_experiment(from_dict(config), run, self._given)
        return LoadedModel(
            module=with_own_statistics(experiment.model, experiment.config),
            variables=self._state.eval_variables(),
            config=experiment.config,
            step=int(self._state.step),
            image_shape=experiment.image_shape,
            class_names=experiment.class_names,
            run=run,
            layout=experiment.layout,
        )

    @functools.cached_property
    def history(self) -> dict[str, list[Any]]:
        """The lines of ``metrics.jsonl`` as columns of one length, ready for ``pandas.DataFrame(history)``.

        Among them are ``step``, ``epoch`` (from 1), ``split`` (``train``, ``validation`` or ``test``),
        ``loss`` (nats), ``accuracy`` (a fraction), ``learning_rate`` and ``images_per_second``; NaN where a
        line does not have a number.
        """
        lines = read_metrics(self.workdir)
        names = list(dict.fromkeys(name for line in lines for name in line))
        missing = float("nan")
        return {name: [missing if line.get(name) is None else line[name] for line in lines] for name in names}

    def report(self, path: "str | os.PathLike[str] | None" = None) -> Path:
        """Writes the run as one HTML page that needs nothing else.

        Args:
            path: the file; None for ``report.html`` in the folder of the run.

        Returns:
            the file, absolute.

        Raises:
            RunError: it cannot be written.
        """
        from mnist_jax.report.page import write_report

        written = write_report(self.workdir, model=self.model)
        return written if path is None else Path(shutil.copyfile(written, path)).absolute()

    def __repr__(self) -> str:
        return f"<TrainedRun: {self._headline()}; {self.workdir}>"

    def _headline(self) -> str:
        if not self.finished:
            steps = self.history.get("step", [])
            return f"stopped after step {steps[-1]}" if steps else "stopped"
        errors, total = self.summary["test_errors"], self.summary["dataset"]["num_test"]
        accuracy = format_percent(self.summary["test_accuracy"])
        return f"test accuracy {accuracy}, {errors:,} errors in {total:,}"

    def _repr_html_(self) -> str:
        """The result in a notebook: the headline, and a row for each epoch."""
        rows = [line for line in read_metrics(self.workdir) if line["split"] != "train"]
        shown: list[tuple[str, Callable[[dict[str, Any]], str]]] = [
            ("epoch", lambda line: str(line["epoch"])),
            ("split", lambda line: line["split"]),
            ("loss", lambda line: _number(line.get("loss"), "{:.4f}".format)),
            ("accuracy", lambda line: _number(line.get("accuracy"), format_percent)),
        ]
        head = "".join(f"<th>{name}</th>" for name, _ in shown)
        body = "".join(f"<tr>{''.join(f'<td>{text(line)}</td>' for _, text in shown)}</tr>" for line in rows)
        warnings = "".join(f"<p>{html.escape(text)}</p>" for text in self.summary.get("warnings", ()))
        return (
            f"<p><b>{html.escape(self._headline())}</b></p>{warnings}"
            f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
            f"<p><code>{html.escape(str(self.workdir))}</code></p>"
        )


def _number(value: float | None, text: Callable[[float], str]) -> str:
    return "" if value is None else text(value)
