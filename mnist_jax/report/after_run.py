"""The report that a training leaves behind."""

from pathlib import Path

from mnist_jax.run.loop import RunResult
from mnist_jax.terminal.console import RunConsole


def leave_report(workdir: Path, result: RunResult, console: RunConsole) -> Path | None:
    """Writes the report of a finished run where it is new or missing; a fault in it spoils nothing.

    Args:
        workdir: the folder of the run.
        result: of the run, with a summary.
        console: is told of the file, or why there is none.

    Returns:
        the file; None where there is none.
    """
    from mnist_jax.report.page import REPORT_FILE, write_report
    from mnist_jax.runtime.distributed import is_multiprocess

    if result.state is None and (workdir / REPORT_FILE).exists():
        return workdir / REPORT_FILE
    if result.state is None and is_multiprocess():
        # Reading a checkpoint takes all of them.
        console.note("no report: make it with python -m mnist_jax.report, in a single process")
        return None
    try:
        variables = None if result.state is None else result.state.eval_variables()
        splits = None if result.data is None else result.data.splits
        report = write_report(workdir, splits=splits, variables=variables)
    except Exception as error:
        console.note(f"no report: {type(error).__name__}: {' '.join(str(error).split())[:300]}")
        return None
    console.print(f"  report    {report}")
    return report
