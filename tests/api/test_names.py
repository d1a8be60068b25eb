"""What ``import mnist_jax`` offers, at once and in any order of imports."""

import inspect
import itertools
import subprocess
import sys

import pytest

import mnist_jax

FUNCTIONS = ("evaluate", "predict", "study", "train")


def run(program):
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_names_are_listed_and_jax_waits_until_one_is_used():
    program = (
        "import sys, mnist_jax\n"
        "names = [name for name in dir(mnist_jax) if not name.startswith('_')]\n"
        "from mnist_jax import train\n"
        "print(names == mnist_jax.__all__, callable(train), {'jax', 'flax', 'optax'} & set(sys.modules))"
    )
    assert run(program) == "True True set()\n"
    assert set(mnist_jax.__all__) >= {*FUNCTIONS, "load", "LoadedModel", "TrainedRun"}


IMPORTS = (
    "import mnist_jax.train",
    "from mnist_jax import train",
    "import mnist_jax; mnist_jax.train",
    "import importlib; importlib.import_module('mnist_jax.train')",
    "from mnist_jax.train import main",
)


def test_whatever_is_imported_first_the_name_is_one_callable_module():
    program = "\n".join(
        [
            "import sys",
            f"for imports in {list(itertools.permutations(IMPORTS, 3))!r}:",
            "    for name in [name for name in sys.modules if name.split('.')[0] == 'mnist_jax']:",
            "        del sys.modules[name]",
            "    for line in imports: exec(line)",
            "    import mnist_jax",
            "    from mnist_jax import train",
            "    assert train is mnist_jax.train is sys.modules['mnist_jax.train'], imports",
            "    assert callable(train), imports",
            "    assert callable(train.main) and train.COMMAND, imports",
            "print('done')",
        ]
    )
    assert run(program) == "done\n"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_callable_module_has_the_signature_and_the_help_of_its_function(name):
    import mnist_jax.api

    function, module = getattr(mnist_jax.api, name), getattr(mnist_jax, name)
    assert inspect.signature(module) == inspect.signature(function)
    assert module.__doc__ == function.__doc__ and "Args:" in module.__doc__


def test_another_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'mnist_jax' has no attribute 'trian'"):
        mnist_jax.trian  # noqa: B018


@pytest.mark.slow
def test_a_type_checker_sees_the_functions(tmp_path):
    api = pytest.importorskip("mypy.api")
    snippet = tmp_path / "program.py"
    snippet.write_text(
        "import mnist_jax\n"
        "from mnist_jax import train\n"
        "reveal_type(mnist_jax.train('smoke').model)\n"
        "reveal_type(train('smoke').summary)\n"
        "reveal_type(mnist_jax.evaluate('runs/default').accuracy)\n"
        "mnist_jax.train('smoke', workdir=3)\n"
        "mnist_jax.predict()\n"
        "mnist_jax.trian('smoke')\n"
    )
    found, _, _ = api.run([str(snippet), "--ignore-missing-imports", "--follow-imports=silent"])
    for text in ("run.load.LoadedModel", "dict[str, Any]", 'Revealed type is "float"'):
        assert text.replace("float", "builtins.float") in found or text in found, found
    assert [line.split(":")[1] for line in found.splitlines() if ": error:" in line] == ["6", "7", "8"]
