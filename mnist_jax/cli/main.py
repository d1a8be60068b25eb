"""The command line that every main shares: flags, ``--config`` and overrides, help, errors, exit codes.

A main describes itself with a `Command` and imports what is heavy inside its function: help stays quick::

    COMMAND = cli.Command("python -m mnist_jax.evaluate", "What it does.", (cli.WORKDIR, cli.CHECKPOINT))


    def main(arguments: cli.Arguments) -> int:
        from mnist_jax.training.evaluation import ...
        ... arguments["workdir"] ...
        arguments.print_json({...})  # with --json; what is printed otherwise goes to stderr then
        return 0


    if __name__ == "__main__":
        cli.run_and_exit(main, COMMAND)
"""

import atexit
import contextlib
import gc
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from types import FrameType
from typing import NoReturn

from mnist_jax.cli.help import help_text
from mnist_jax.cli.parse import JSON, Arguments, Command, parse
from mnist_jax.errors import ConfigError, MnistJaxError
from mnist_jax.runtime.distributed import end_at_once
from mnist_jax.runtime.environment import package_version, require_address_space
from mnist_jax.runtime.heap import use_few_arenas
from mnist_jax.terminal.format import printable
from mnist_jax.terminal.streams import hold_standard_streams

EXIT_FAULT = 1
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143


def run_main(main: Callable[[Arguments], int], command: Command, argv: Sequence[str] | None = None) -> int:
    """Reads the command line, runs `main` and turns whatever happens into lines on stderr and an exit code.

    Args:
        main: does the work; what it returns is the exit code.
        command: what `main` takes.
        argv: the command line without the program; by default that of this process.

    Returns:
        What `main` returned; 0 for help; 1 for a fault of the run; 2 for a wrong command line or
        configuration; 130 for Ctrl-C, 143 for SIGTERM and SIGUSR1. A fault is told in lines that begin with
        ``error:``; its traceback is shown only with ``--debug``. With ``--json`` standard output holds what
        `main` gave to `Arguments.print_json` and nothing else.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    debug = bool({"--debug", "-debug"}.intersection(words))
    try:
        with _sigterm_ends():
            code = _run(main, command, words)
            _flush_stdout()
        return code
    except BrokenPipeError:
        # The reader of our output left (`... | head`): nobody is there to be told.
        _silence_stdout()
        return EXIT_FAULT
    except KeyboardInterrupt as error:
        return _report(["stopped by Ctrl-C"], error, debug, EXIT_INTERRUPTED)
    except ConfigError as error:
        return _report(error.problems, error, debug, error.exit_code)
    except MnistJaxError as error:
        return _report([str(error)], error, debug, error.exit_code)
    except Exception as error:
        if isinstance(error, OSError) and error.filename is not None and error.strerror:
            return _report([f"{error.filename}: {error.strerror}"], error, debug, EXIT_FAULT)
        text = " ".join(str(error).split())[:500]
        hint = "" if debug else " (rerun with --debug for the traceback)"
        return _report([f"{type(error).__name__}: {text}{hint}"], error, debug, EXIT_FAULT)


def run_and_exit(
    main: Callable[[Arguments], int], command: Command, argv: Sequence[str] | None = None
) -> NoReturn:
    """Runs `main` as the program itself, see `run_main`: what stands behind ``if __name__ == "__main__"``."""
    # JAX and what goes with it make very many objects, and none of them is ever garbage.
    gc.set_threshold(10_000, 50)
    use_few_arenas()
    hold_standard_streams()
    code = run_main(main, command, argv)
    end_at_once(code)
    _end_quickly(code)


def _end_quickly(code: int) -> NoReturn:
    """Ends the process as Python does, but for taking JAX apart object by object, which takes long."""
    try:
        # Waits for threads. The processes of multiprocessing end by these calls, too.
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError, AttributeError):
                stream.flush()
    finally:
        os._exit(code)


def _run(main: Callable[[Arguments], int], command: Command, words: list[str]) -> int:
    flags = words[: words.index("--")] if "--" in words else words
    asked = {word.lstrip("-") for word in flags if word.startswith("-")}
    if asked & {"h", "help", "helpfull", "helpshort"}:
        print(help_text(command, flags))
        return 0
    if "version" in asked:
        print(f"mnist-jax {package_version()}")
        return 0
    arguments = parse(command, words)
    require_address_space()
    if not (JSON in command.common_flags and arguments["json"]):
        return main(arguments)
    answers = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):
        return main(replace(arguments, answers=answers))


@contextlib.contextmanager
def _sigterm_ends() -> Iterator[None]:
    """Ends the program at SIGTERM and SIGUSR1 where nobody else takes them, as `signals.StopRequest` does.

    Raising from the handler instead would unwind native libraries in the middle of their loading, which
    crashes them, and be swallowed by their callbacks. Files are written atomically, so this is sound.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: FrameType | None) -> None:
        with contextlib.suppress(OSError):
            os.write(2, f"error: stopped by {signal.Signals(number).name}\n".encode())
        os._exit(EXIT_TERMINATED)

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGUSR1)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _report(problems: Sequence[str], error: BaseException, debug: bool, code: int) -> int:
    _flush_before_error()
    try:
        if debug:
            traceback.print_exception(error)
        for problem in problems:
            # A list of differences goes on in indented lines; a name of a file can begin none of its own.
            print("error: " + "\n  ".join(map(printable, problem.split("\n  "))), file=sys.stderr)
    except OSError:
        # stderr is closed or its disk is full; the exit code still tells.
        pass
    return code


def _flush_stdout() -> None:
    if sys.stdout is not None:
        sys.stdout.flush()


def _flush_before_error() -> None:
    try:
        _flush_stdout()
    except OSError:
        _silence_stdout()


def _silence_stdout() -> None:
    # Python flushes stdout once more as it exits, and would complain about the same pipe or disk again.
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError, AttributeError):
        sys.stdout = None  # type: ignore[assignment]
