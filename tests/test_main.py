"""The tool with all commands: names, help, versions, slips; each command still imports only what it needs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import mnist_jax
from mnist_jax.__main__ import COMMANDS, load_command, main
from mnist_jax.cli import listing
from mnist_jax.cli.main import run_main
from mnist_jax.config.file import shipped_configs
from mnist_jax.config.schema import FIELDS_BY_NAME

PACKAGE = Path(mnist_jax.__file__).parent


def tool(*words, program="import sys; from mnist_jax.__main__ import main; sys.exit(main())"):
    command = [sys.executable, "-c", program, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_every_module_with_a_command_is_a_command_of_the_tool():
    paths = [*PACKAGE.glob("*.py"), *PACKAGE.glob("*/__main__.py"), *PACKAGE.glob("cli/*.py")]
    modules = {
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        for path in paths
        if "\nCOMMAND = " in path.read_text()
    }
    assert modules == {module for _, module in COMMANDS.values()}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_has_its_name_in_the_tool(name):
    assert load_command(name)[1].name == f"mnist-jax {name}"


def test_help_of_a_command_shows_the_name_it_was_called_by():
    done = tool("evaluate", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: mnist-jax evaluate --workdir DIR")
    words = [sys.executable, "-m", "mnist_jax", "help", "evaluate"]
    shown = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout
    assert shown.startswith("usage: python -m mnist_jax evaluate --workdir DIR")


def test_a_command_gets_its_words_and_its_exit_code_is_that_of_the_tool(tmp_path):
    done = tool("evaluate", "--workdir", str(tmp_path / "nothing"))
    assert done.returncode == 1 and done.stderr.startswith("error: ")
    done = tool("evaluate", "--wrokdir", "x")
    assert done.returncode == 2 and "did you mean --workdir?" in done.stderr


def test_help_imports_nothing_and_commands_are_not_imported_for_each_other():
    program = (
        "import sys\nfrom mnist_jax.__main__ import main\nmain(['--help'])\n"
        "names = {'jax', 'ml_collections', 'numpy', 'mnist_jax.cli'} & set(sys.modules)\n"
        "from mnist_jax.__main__ import COMMANDS, load_command\n"
        "for name in COMMANDS: load_command(name)\n"
        "print(names, {'jax', 'matplotlib', 'starlette'} & set(sys.modules))"
    )
    done = tool(program=program)
    assert done.stdout.splitlines()[-1] == "set() set()"
    assert all(f"  {name} " in done.stdout for name in COMMANDS)


def test_a_training_and_its_report_start_without_scipy():
    """Its import takes longer than what they need of it; what needs more imports it."""
    program = (
        "import sys\nimport mnist_jax.run.loop, mnist_jax.report.after_run\n"
        "from mnist_jax.report import images, learning, page, predictions, render, sections\n"
        "print(sorted({'jax', 'matplotlib', 'scipy'} & set(sys.modules)))"
    )
    assert tool(program=program).stdout.strip() == "['jax', 'matplotlib']"


def test_the_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"mnist-jax {mnist_jax.__version__}\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trian"], "error: 'trian' is no command; did you mean train?"),
        (["pseudo-label"], "did you mean pseudo_label?"),
        (["xyzzy"], "error: 'xyzzy' is no command; there are train, evaluate, "),
        (["--config", "smoke"], "--config: there is no such flag here; the command comes first"),
        ([], "usage: mnist-jax COMMAND"),
    ],
)
def test_a_wrong_command_is_a_line_and_exit_code_2(words, message, capsys):
    assert main(words) == 2
    shown = capsys.readouterr()
    assert message in shown.err and shown.out == ""


def listed(kind, capsys):
    assert run_main(listing.main, listing.COMMAND, [kind, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert run_main(listing.main, listing.COMMAND, [kind]) == 0
    text = capsys.readouterr().out
    assert all(row["name"] in text and row["description"] in text and row["description"] for row in rows)
    return {row["name"]: row for row in rows}


def test_the_list_of_configurations(capsys):
    rows = listed("configs", capsys)
    assert {name: row["file"] for name, row in rows.items()} == {
        name: str(path) for name, path in shipped_configs().items()
    }
    assert rows["smoke"]["description"].startswith("A tiny network on a few hundred of the embedded digits")


def test_the_list_of_models_is_that_of_the_field(capsys):
    assert set(listed("models", capsys)) == set(FIELDS_BY_NAME["model.name"].choices)


def test_the_list_of_optimizers_is_that_of_the_field_with_what_each_takes(capsys):
    rows = listed("optimizers", capsys)
    assert set(rows) == set(FIELDS_BY_NAME["optim.name"].choices)
    assert rows["sgd"]["fields"] == ["momentum", "nesterov", "weight_decay"]


def test_the_list_of_data_sets(capsys):
    rows = listed("data", capsys)
    assert (rows["emnist/letters"]["num_train"], rows["emnist/letters"]["num_classes"]) == (124_800, 26)
    assert (rows["mnist_5k"]["num_train"], rows["mnist_5k"]["num_test"]) == (4000, 1000)


@pytest.mark.parametrize("words", [[], ["optimisers"], ["models", "data"]])
def test_a_list_of_anything_else_is_refused(words, capsys):
    assert run_main(listing.main, listing.COMMAND, words) == 2
    assert "expected one of configs, models, optimizers, data, got" in capsys.readouterr().err
