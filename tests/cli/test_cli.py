"""The command line: what is accepted, every slip at once, help without JAX, exit codes of processes."""

import os
import pwd
import re
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from absl import flags
from hypothesis import given
from hypothesis import strategies as st
from ml_collections import config_flags

from mnist_jax import cli
from mnist_jax.config.check import check, default_config, flatten
from mnist_jax.config.optimizers import OPTIMIZERS, OWN_FIELDS
from mnist_jax.config.schema import FIELDS
from mnist_jax.errors import ConfigError, DataError

ROOT = Path(__file__).parents[2]
DEFAULT = str(ROOT / "configs" / "default.py")
PORT = cli.Flag("port", 8000, "port of the page", at_least=1, at_most=65535, metavar="N")
TRAIN = cli.Command(
    "python -m train",
    "Trains.",
    (cli.Flag("workdir", "", "folder of the run", non_empty=True, metavar="DIR"),),
    takes_config=True,
)
PREDICT = cli.Command(
    "python -m predict",
    "Predicts.",
    (cli.WORKDIR, cli.CHECKPOINT, PORT),
    positional="IMAGE",
    positional_description="picture files",
)


def problems_of(command, *words):
    with pytest.raises(ConfigError) as caught:
        cli.parse(command, words)
    assert all("\n" not in problem for problem in caught.value.problems)
    return list(caught.value.problems)


def config_of(*words):
    return cli.parse(TRAIN, ["--config", DEFAULT, *words]).config


def test_all_slips_are_listed_at_once():
    words = ["--config.optim.learning_rat=1", "--config.batch_size=-5", "--config.num_epochs=abc", "stray"]
    assert problems_of(TRAIN, "--config", DEFAULT, *words, "--wrokdir=x", "--workdir=") == [
        "--config.optim.learning_rat: there is no such field; did you mean 'optim.learning_rate'?",
        "--config.batch_size: expected a whole number of at least 0, got -5",
        "--config.num_epochs: expected a whole number of at least 0, got 'abc'",
        "stray argument 'stray': flags are given as --name=value",
        "--wrokdir: there is no such flag; did you mean --workdir?",
        "--workdir: expected non-empty text of one line, got ''",
    ]


SPELLINGS = pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        (["--config.seed=3"], "seed", 3),
        (["--config.seed", "3"], "seed", 3),
        (["-config.seed=3"], "seed", 3),
        (["--config.seed=0x10"], "seed", 16),
        (["--config.seed=1", "--config.seed=2"], "seed", 2),
        (["--config.distributed.process_id", "-1"], "distributed.process_id", -1),
        (["--config.optim.learning_rate=1"], "optim.learning_rate", 1.0),
        (["--config.optim.learning_rate=1e-2"], "optim.learning_rate", 0.01),
        (["--config.report=false"], "report", False),
        (["--config.report=0"], "report", False),
        (["--noconfig.report"], "report", False),
        (["--noconfig.report", "--config.report"], "report", True),
        (["--config.model.features=(8,8,16,16)"], "model.features", (8, 8, 16, 16)),
        (["--config.model.features", "(8, 8, 16, 16)"], "model.features", (8, 8, 16, 16)),
        (["--config.model.features=8,8,16,16"], "model.features", (8, 8, 16, 16)),
        (["--config.model.features=[8,8,16,16]"], "model.features", (8, 8, 16, 16)),
        (["--config.model.pool_after=1"], "model.pool_after", (1,)),
        (["--config.model.pool_after=()"], "model.pool_after", ()),
        (["--config.data.dir=/a=b c"], "data.dir", "/a=b c"),
        (["--config.data.fallback="], "data.fallback", ""),
    ],
)


@SPELLINGS
def test_an_override_sets_its_field(words, name, value):
    found = dict(flatten(config_of(*words)))[name]
    assert found == value
    assert type(found) is type(value)


@SPELLINGS
def test_config_flags_reads_the_override_alike(words, name, value):
    flag_values = flags.FlagValues()
    config = check(default_config())
    config_flags.DEFINE_config_dict("config", config, flag_values=flag_values, sys_argv=["program", *words])
    flag_values(["program", *words])
    assert dict(flatten(flag_values.config))[name] == value


def test_a_false_after_a_flag_is_its_value_and_no_stray_word():
    assert not config_of("--config.report", "false").report


def test_overrides_may_come_before_the_file_and_the_last_file_counts():
    words = ["--config.seed=3", "--config=missing.py", f"--config={DEFAULT}"]
    arguments = cli.parse(TRAIN, words)
    assert arguments.config.seed == 3
    assert arguments.config_file == DEFAULT


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (
            ["--config.optim.learning_rate=nan"],
            "--config.optim.learning_rate: expected a finite number above 0, got nan",
        ),
        (
            ["--config.optim.learning_rate=inf"],
            "--config.optim.learning_rate: expected a finite number above 0, got inf",
        ),
        (["--config.num_epochs=-1"], "--config.num_epochs: expected a whole number of at least 0, got -1"),
        (
            ["--config.num_epochs=1.5"],
            "--config.num_epochs: expected a whole number of at least 0, got '1.5'",
        ),
        (["--config.num_epochs="], "--config.num_epochs: expected a whole number of at least 0, got ''"),
        (
            ["--config.num_epochs"],
            "--config.num_epochs: a value is missing, expected a whole number of at least 0",
        ),
        (["--config.num_epochs", "--debug"], "--config.num_epochs: a value is missing"),
        (["--config.report=maybe"], "--config.report: expected True or False, got 'maybe'"),
        (["--noconfig.report=1"], "--noconfig.report: takes no value; give --config.report=1"),
        (["--noconfig.seed"], "--noconfig.seed: only a field that is True or False"),
        (["--config.optim=adam"], "--config.optim: is a group of fields; set one of them"),
        (["--config.model.features=(8,"], "--config.model.features: expected a tuple of whole numbers"),
        (["--config.model.features=" + "(" * 500], "--config.model.features: expected a tuple"),
        (["--config.model.features=(8,8)"], "model.pool_after: expected convolutions from 0 to 1"),
        (
            ["--config.model.kernel_size=0"],
            "--config.model.kernel_size: expected a whole number of at least 1",
        ),
        (
            ["--config.learning_rate", "1"],
            "--config.learning_rate: there is no such field; did you mean 'optim.learning",
        ),
        (["--batch_size=4"], "--batch_size: there is no such flag; did you mean --config.batch_size?"),
        (["--batch_size", "4"], "--batch_size: there is no such flag; did you mean --config.batch_size?"),
        (["--xyzzy"], "--xyzzy: there is no such flag; --help lists them"),
        (["-5"], "stray argument '-5'"),
        (["--", "--debug"], "stray argument '--debug'"),
        ([""], "stray argument ''"),
        (["--config="], "--config: expected non-empty text of one line, got ''"),
        (["--config=configs_nowhere/x.py"], "config file 'configs_nowhere/x.py' does not exist"),
    ],
)
def test_one_slip_is_one_line(words, problem):
    (found,) = problems_of(TRAIN, f"--config={DEFAULT}", *words)
    assert problem in found


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_field_of_an_optimizer_is_taken_or_refused_in_one_line(name):
    words = [f"--config={DEFAULT}", f"--config.optim.name={name}"]
    words += ["--config.optim.schedule=constant", "--config.optim.ema_fraction=0"]
    values = {"b1": 0.8, "b2": 0.9, "epsilon": 1e-5, "momentum": 0.5, "weight_decay": 1e-4}
    values |= {"nesterov": False, "muon_dense": False}
    assert set(values) == set(OWN_FIELDS)
    taken = OPTIMIZERS[name].fields
    for field, value in values.items():
        given = f"--config.optim.{field}={value}"
        if field in taken:
            assert cli.parse(TRAIN, [*words, given]).config.optim[field] == value
        else:
            line = f"--config.optim.{field}: optim.name={name} does not take it; it takes {', '.join(taken)}"
            assert problems_of(TRAIN, *words, given) == [line]
        (found,) = problems_of(TRAIN, *words, f"--config.optim.{field}x={value}")
        assert found == (f"--config.optim.{field}x: there is no such field; did you mean 'optim.{field}'?")
        (found,) = problems_of(TRAIN, *words, f"--config.optim.{field}=much")
        assert found.startswith(f"--config.optim.{field}: expected ") and found.endswith(", got 'much'")


def test_a_wrong_value_raises_no_second_problem_through_the_value_it_was_to_replace():
    (found,) = problems_of(
        TRAIN, "--config", DEFAULT, "--config.data.train_examples=10", "--config.batch_size=q"
    )
    assert found.startswith("--config.batch_size")


def test_without_a_file_the_overrides_are_checked_all_the_same():
    assert problems_of(TRAIN, "--config.batch_size=-1") == [
        "--config.batch_size: expected a whole number of at least 0, got -1",
        "--config: is missing; give one, such as --config default",
    ]


def test_a_slip_in_the_file_is_told_with_the_file_and_with_those_of_the_command_line(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "from ml_collections import ConfigDict\n"
        "def get_config():\n  return ConfigDict({'optim': {'schedul': 1}, 'seed': 'x', 'batch_size': 0})\n"
    )
    found = problems_of(TRAIN, "--config", str(path), "--config.batch_size=8", "stray")
    assert found == [
        "stray argument 'stray': flags are given as --name=value",
        f"{path}: optim.schedul: there is no such field; did you mean 'optim.schedule'?",
        f"{path}: seed: expected a whole number of at least 0 and at most 4294967295, got 'x'",
    ]


def test_a_command_without_configuration():
    arguments = cli.parse(PREDICT, ["a.png", "--workdir=w", "-", "--json", "--port", "80", "--", "-b.png"])
    assert arguments.positional == ("a.png", "-", "-b.png")
    assert (arguments["workdir"], arguments["json"], arguments["port"]) == ("w", True, 80)
    assert (arguments["checkpoint"], arguments["debug"]) == ("latest", False)
    assert cli.parse(PREDICT, ["--workdir=w", "--checkpoint", "1200"])["checkpoint"] == "1200"


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["a.png"], "--workdir: is missing; give --workdir DIR"),
        (
            ["--workdir=w", "--port=0"],
            "--port: expected a whole number of at least 1 and at most 65535, got 0",
        ),
        (
            ["--workdir=w", "--checkpoint=newest"],
            "--checkpoint: expected latest, best or the number of a step",
        ),
        (["--workdir=w", "--jso"], "--jso: there is no such flag; did you mean --json?"),
        (["--workdir=w", "--config.seed=3"], "--config.seed: there is no such flag"),
        (["--workdir"], "--workdir: a value is missing"),
    ],
)
def test_slips_of_a_command_without_configuration(words, problem):
    (found,) = problems_of(PREDICT, *words)
    assert problem in found


@given(
    st.lists(
        st.text(max_size=8)
        | st.sampled_from(["--config", DEFAULT, "--config.seed", "--config.optim.b1=", "3"])
    )
)
def test_any_words_are_arguments_or_problems(words):
    try:
        cli.parse(TRAIN, words)
    except ConfigError as error:
        assert error.problems


def run(main, *words):
    return cli.run_main(main, PREDICT, ["--workdir=w", *words])


def test_what_main_raises_becomes_a_line_and_an_exit_code(capsys):
    def raising(error):
        def main(arguments):
            raise error

        return main

    assert run(lambda arguments: 7) == 7
    assert run(raising(DataError("no such data"))) == 1
    assert run(raising(ConfigError(["one", "two"]))) == 2
    assert run(raising(KeyboardInterrupt())) == 130
    assert run(raising(RuntimeError("many\nlines"))) == 1
    assert capsys.readouterr().err.splitlines() == [
        "error: no such data",
        "error: one",
        "error: two",
        "error: stopped by Ctrl-C",
        "error: RuntimeError: many lines (rerun with --debug for the traceback)",
    ]


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1"])
def test_sigterm_ends_the_program_with_one_line(name):
    program = (
        "import signal, time\n"
        "from mnist_jax import cli\n"
        "def main(arguments):\n"
        f"    signal.raise_signal(signal.{name})\n"
        "    time.sleep(60)\n"
        "cli.run_and_exit(main, cli.Command('python -m nothing', 'Nothing.'))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50)
    assert (done.returncode, done.stderr) == (143, f"error: stopped by {name}\n")


def test_a_program_ends_with_all_that_is_to_be_done_then_and_no_more():
    program = (
        "import atexit, sys, threading, time\n"
        "from mnist_jax import cli\n"
        "class Last:\n"
        "    def __del__(self): print('taken apart')\n"
        "last = Last()\n"
        "atexit.register(print, 'at exit')\n"
        "def late():\n"
        "    time.sleep(0.1)\n"
        "    sys.stdout.write('thread\\n')\n"
        "def main(arguments):\n"
        "    threading.Thread(target=late).start()\n"
        "    sys.stdout.write('main\\n')\n"
        "    return 7\n"
        "cli.run_and_exit(main, cli.Command('python -m nothing', 'Nothing.'))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50)
    assert (done.returncode, done.stdout, done.stderr) == (7, "main\nthread\nat exit\n", "")


def test_the_old_handler_of_sigterm_comes_back():
    before = signal.getsignal(signal.SIGTERM)
    assert run(lambda arguments: 0) == 0
    assert signal.getsignal(signal.SIGTERM) is before


def test_debug_shows_the_traceback(capsys):
    def main(arguments):
        raise DataError("no such data")

    assert run(main, "--debug") == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("Traceback")
    assert lines[-1] == "error: no such data"


def test_help_names_every_flag_and_field_with_its_value(capsys):
    assert cli.run_main(lambda arguments: 1, TRAIN, ["-h"]) == 0
    shown = capsys.readouterr().out
    for field in FIELDS:
        assert f"  {field.name} ({field.type.__name__}) = {field.default!r}\n" in shown
    for flag in ("--config NAME|FILE", "--workdir DIR", "--debug", "--help"):
        assert flag in shown
    assert cli.run_main(lambda arguments: 1, PREDICT, ["--help"]) == 0
    shown = capsys.readouterr().out
    assert "IMAGE ..." in shown and "--port N" in shown and "default 8000" in shown
    assert "num_epochs" not in shown


def test_help_shows_the_values_of_the_named_file_and_overrides(capsys):
    assert cli.run_main(lambda arguments: 1, TRAIN, ["--config", DEFAULT, "--config.seed=9", "--help"]) == 0
    shown = capsys.readouterr().out
    assert "  optim.ema_fraction (float) = 0.043\n" in shown
    assert "  seed (int) = 9\n" in shown
    assert cli.run_main(lambda arguments: 1, TRAIN, ["--config", "no_such.py", "--help"]) == 0
    assert "'no_such.py' does" in " ".join(capsys.readouterr().out.split())


MAIN = """
import sys
from mnist_jax import cli

COMMAND = cli.Command("tiny", "A tiny main.", takes_config=True)

def main(arguments):
    if arguments["json"]:
        raise RuntimeError("main was asked to fail")
    for _ in range(20000):
        print("seed", arguments.config.seed)
    return 0

code = cli.run_main(main, COMMAND)
print("jax imported" if "jax" in sys.modules else "jax not imported", file=sys.stderr)
sys.exit(code)
"""


@pytest.fixture
def tiny(tmp_path):
    """A program with a main of its own, run as a real process in a folder other than the project's."""
    path = tmp_path / "tiny.py"
    path.write_text(MAIN)

    def start(*words, **options):
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        options.setdefault("stdout", subprocess.PIPE)
        return subprocess.run(
            [sys.executable, str(path), *words],
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=tmp_path,
            **options,
        )

    return start


def test_help_of_a_process_comes_without_jax(tiny):
    done = tiny("-h")
    assert done.returncode == 0
    assert done.stderr == "jax not imported\n"
    assert "optim.learning_rate" in done.stdout


def test_a_process_with_slips_exits_with_2_and_no_traceback(tiny):
    done = tiny("--config", DEFAULT, "--config.batch_size=-1", "stray")
    assert done.returncode == 2
    *errors, last = done.stderr.splitlines()
    assert len(errors) == 2 and all(line.startswith("error: ") for line in errors)
    assert last == "jax not imported"
    assert done.stdout == ""


def test_a_process_that_fails_exits_with_1_and_one_line(tiny):
    done = tiny("--config", DEFAULT, "--json")
    assert done.returncode == 1
    assert done.stderr.splitlines()[0].startswith("error: RuntimeError: main was asked to fail")
    assert "Traceback" not in done.stderr
    assert "Traceback" in tiny("--config", DEFAULT, "--json", "--debug").stderr


def test_a_process_whose_reader_leaves_ends_quietly(tiny):
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = tiny("--config", DEFAULT, stdout=writing)
    finally:
        os.close(writing)
    assert done.returncode == 1
    assert done.stderr == "jax not imported\n"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_process_whose_output_has_no_room_says_so(tiny):
    with open("/dev/full", "w") as full:
        done = tiny("--config", DEFAULT, stdout=full)
    assert done.returncode == 1
    assert done.stderr.splitlines()[0].startswith("error: OSError: [Errno 28] No space left on device")
    assert "Exception ignored" not in done.stderr


def test_a_flag_may_be_another_name_of_a_field():
    start = cli.Flag("init_from", "", "the run", non_empty=True, metavar="DIR", sets="init.run")
    command = cli.Command("python -m train", "Trains.", (start,), takes_config=True)
    words = ["--config", DEFAULT, "--init_from", "/runs/a", "--config.init.freeze=conv*"]
    assert cli.parse(command, words).config.init.run == "/runs/a"
    assert cli.parse(command, [*words, "--config.init.run=/runs/b"]).config.init.run == "/runs/b"
    assert problems_of(command, "--config", DEFAULT, "--init_from=") == [
        "--init_from: expected non-empty text of one line, got ''"
    ]


def test_the_tilde_of_a_path_is_the_home_folder(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ada")
    command = cli.Command("x", "", (cli.WORKDIR, cli.CHECKPOINT, PORT))
    for words in (["--workdir=~/runs/a"], ["--workdir", "~/runs/a"]):
        assert cli.parse(command, words)["workdir"] == "/home/ada/runs/a"
    assert cli.parse(command, ["--workdir=./~/a"])["workdir"] == "./~/a"
    assert cli.parse(command, ["--workdir=a~"])["workdir"] == "a~"


def test_a_home_folder_that_is_not_known_is_one_line(monkeypatch):
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)
    for path in ("~/a", "~nobody-of-this-name/a"):
        with pytest.raises(ConfigError, match=r"--workdir: ~.* is not known here; give the folder in full"):
            cli.parse(cli.Command("x", "", (cli.WORKDIR,)), [f"--workdir={path}"])


def test_too_little_address_space_is_one_line_and_no_abort(capsys, monkeypatch):
    monkeypatch.setattr("resource.getrlimit", lambda kind: (2**30, resource.RLIM_INFINITY))
    assert run(lambda arguments: 0) == 1
    assert re.fullmatch(r"error: .* 1\.1 GB \(ulimit -v\), but JAX needs .*\n", capsys.readouterr().err)


def test_a_name_of_a_file_draws_no_line_of_its_own(capsys):
    def main(arguments):
        raise DataError("\x1b[2Ja\nerror: all is lost: there are differences:\n  one\n  two")

    assert run(main) == 1
    assert capsys.readouterr().err.splitlines() == [
        "error: \\x1b[2Ja\\nerror: all is lost: there are differences:",
        "  one",
        "  two",
    ]


@pytest.mark.parametrize("name", ["a" * 5000, "a/" * 2500])
def test_a_path_that_the_system_refuses_is_one_line(capsys, name):
    def main(arguments):
        Path(name).is_dir()

    assert run(main) == 1
    assert capsys.readouterr().err == f"error: {name.rstrip('/')}: File name too long\n"
