"""Configuration files: what runs, and one line for each thing that can be wrong with them."""

import functools
import os

import pytest

from mnist_jax.config import file
from mnist_jax.config.check import check
from mnist_jax.config.file import load_config_file, shipped_configs
from mnist_jax.errors import ConfigError
from mnist_jax.runtime.regular_file import read_named

HEAD = "from mnist_jax.config import default_config\nfrom ml_collections import ConfigDict\n"


def problem_of(path) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config_file(str(path))
    (problem,) = caught.value.problems
    assert "\n" not in problem
    return problem


def test_a_file_may_change_the_defaults_or_give_a_few_fields(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(HEAD + "def get_config():\n  c = default_config()\n  c.optim.b1 = 0.5\n  return c\n")
    assert check(load_config_file(str(path))).optim.b1 == 0.5
    path.write_text(HEAD + "def get_config():\n  return ConfigDict({'batch_size': 7})\n")
    config = check(load_config_file(str(path)))
    assert (config.batch_size, config.optim.b1) == (7, 0.9)


def test_what_follows_a_colon_is_passed_on(tmp_path):
    path = tmp_path / "sized.py"
    path.write_text(HEAD + "def get_config(size):\n  return ConfigDict({'batch_size': int(size)})\n")
    assert load_config_file(f"{path}:12").batch_size == 12
    assert "missing 1 required positional argument: 'size'" in problem_of(path)


def test_an_edit_within_the_same_second_is_seen(tmp_path):
    path = tmp_path / "edited.py"
    for size in (4, 5):
        path.write_text(HEAD + f"def get_config():\n  return ConfigDict({{'batch_size': {size}}})\n")
        os.utime(path, (1_000_000_000, 1_000_000_000))
        assert load_config_file(str(path)).batch_size == size
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_may_define_a_dataclass(tmp_path):
    path = tmp_path / "classy.py"
    # Dataclasses look their module up in sys.modules when an annotation is a string.
    body = "@dataclass\nclass A:\n  x: 'int' = 3\ndef get_config():\n  return ConfigDict({'seed': A().x})\n"
    path.write_text("from dataclasses import dataclass\n" + HEAD + body)
    assert load_config_file(str(path)).seed == 3


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("def get_config(:\n", "line 1: SyntaxError: invalid syntax"),
        ("\0", "null bytes"),
        ("", "there is no function get_config()"),
        ("get_config = 3", "there is no function get_config()"),
        ("import no_such_module_here", "line 1: ModuleNotFoundError: No module named 'no_such_module_here'"),
        ("def get_config():\n  return 1 / 0\n", "line 2: ZeroDivisionError: division by zero"),
        ("def get_config():\n  raise ValueError('two\\nlines')\n", "line 2: ValueError: two lines"),
        ("raise SystemExit(0)", "line 1: SystemExit: 0"),
        ("def get_config():\n  open('/no/such/file')\n", "line 2: FileNotFoundError"),
        ("def get_config():\n  pass\n", "got None (is its return missing?)"),
        ("def get_config():\n  return {'batch_size': 3}\n", "expected an ml_collections.ConfigDict"),
    ],
)
def test_a_broken_file_is_told_in_one_line(tmp_path, source, expected):
    path = tmp_path / "broken.py"
    path.write_text(source)
    problem = problem_of(path)
    assert expected in problem
    assert str(path) in problem


def test_bytes_that_are_no_text_are_told_in_one_line(tmp_path):
    path = tmp_path / "binary.py"
    path.write_bytes(b"\x89PNG\xff\xfe\x80")
    assert "SyntaxError" in problem_of(path)


def test_a_missing_file_is_told_with_the_nearest_name(tmp_path):
    (tmp_path / "default.py").touch()
    assert problem_of(tmp_path / "defualt.py").endswith(f"did you mean '{tmp_path}/default.py'?")
    assert "that folder has default.py" in problem_of(tmp_path / "xyz")
    assert "nor does the folder" in problem_of(tmp_path / "no" / "x.py")
    (tmp_path / "empty").mkdir()
    assert "that folder has no Python files" in problem_of(tmp_path / "empty" / "x.py")


def test_a_folder_is_no_file(tmp_path):
    (tmp_path / "default.py").touch()
    assert "is a folder, expected a Python file" in problem_of(tmp_path)
    assert "it has default.py" in problem_of(tmp_path)


@pytest.mark.parametrize("name", ["a\0b", "x" * 5000])
def test_a_name_that_no_file_can_have_is_told_in_one_line(name):
    assert "config file" in problem_of(name)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_an_unreadable_file_is_told_in_one_line(tmp_path):
    path = tmp_path / "secret.py"
    path.touch(mode=0)
    assert "Permission denied" in problem_of(path)


def test_a_shipped_configuration_is_found_by_name_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_config_file("smoke").data.name == "mnist_5k"
    # Those that start from another find it beside them.
    assert load_config_file("fashion_mnist").data.name == "fashion_mnist"
    assert set(shipped_configs()) >= {"default", "smoke", "article"}


def test_a_file_goes_before_a_shipped_name_and_a_folder_does_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "smoke").mkdir()
    assert load_config_file("smoke").data.name == "mnist_5k"
    (tmp_path / "smoke").rmdir()
    (tmp_path / "smoke").write_text(HEAD + "def get_config():\n  return ConfigDict({'seed': 3})\n")
    assert load_config_file("smoke").seed == 3


def test_a_shipped_configuration_takes_an_argument(tmp_path, monkeypatch):
    (tmp_path / "sized.py").write_text("def get_config(size):\n  raise ValueError(size)\n")
    monkeypatch.setattr(file, "shipped_configs", lambda: {"sized": tmp_path / "sized.py"})
    assert "ValueError: 12" in problem_of("sized:12")


def test_a_name_that_is_neither_is_told_with_the_nearest_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert problem_of("defualt").endswith("nor does a configuration of that name; did you mean default?")
    assert "did you mean fast_995 or fast_995_gpu or fast?" in problem_of("fast_99")
    assert "by name there are article, best_single, default, " in problem_of("xyzzy")
    by_name = "--config default finds the one that comes with the package"
    assert by_name in problem_of("configs/default.py") and by_name in problem_of("default.py")


@pytest.mark.parametrize("inside", [True, False], ids=["wheel", "checkout"])
def test_the_shipped_ones_lie_in_the_package_or_beside_it(tmp_path, monkeypatch, inside):
    package = tmp_path / "mnist_jax"
    folder = package / "configs" if inside else tmp_path / "configs"
    folder.mkdir(parents=True)
    for name in ("mine.py", "__init__.py", "notes.txt"):
        (folder / name).touch()
    monkeypatch.setattr(file, "__file__", str(package / "config" / "file.py"))
    assert shipped_configs() == {"mine": folder / "mine.py"}
    (folder / "mine.py").unlink()
    (folder / "__init__.py").unlink()
    assert shipped_configs() == {}


def test_the_configuration_of_a_run_is_read_from_its_json(tmp_path):
    path = tmp_path / "config.json"
    path.write_text('{"seed": 7, "model": {"features": [4, 4]}, "run": {"dataset": {}}}')
    config = load_config_file(str(path))
    assert config.to_dict() == {"seed": 7, "model": {"features": [4, 4]}}
    path.write_text('["seed"]')
    with pytest.raises(ConfigError, match="config.json: expected the JSON that a run writes"):
        load_config_file(str(path))


@pytest.mark.parametrize(
    "raised", ["GeneratorExit", "BaseException('no')", "type('Own', (BaseException,), {})()"]
)
def test_what_is_no_exception_is_one_line_too(tmp_path, raised):
    path = tmp_path / "odd.py"
    path.write_text(f"def get_config():\n    raise {raised}\n")
    with pytest.raises(ConfigError, match=r"odd\.py, line 2: \w+"):
        load_config_file(str(path))


def test_a_file_that_is_none_or_never_ends_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr("mnist_jax.config.file.read_named", functools.partial(read_named, pipe_seconds=0.01))
    os.mkfifo(tmp_path / "pipe.py")
    assert "pipe.py' cannot be read: nothing came through this pipe" in problem_of(tmp_path / "pipe.py")
    (tmp_path / "zero.py").symlink_to("/dev/zero")
    assert "zero.py' cannot be read: it is not a regular file" in problem_of(tmp_path / "zero.py")
    with open(tmp_path / "large.py", "wb") as file:
        file.truncate(2**40)
    assert "large.py' cannot be read: it is larger than" in problem_of(tmp_path / "large.py")


@pytest.mark.parametrize("content", ["[" * 100_000, "[1]", "\0"])
def test_the_json_of_no_run_is_one_line(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    assert "expected the JSON that a run writes" in problem_of(tmp_path / "config.json")


@pytest.mark.parametrize("told", ["raise KeyError", "return 10**7 * 'x'"])
def test_an_error_that_cannot_tell_what_it_is_or_tells_too_much_is_one_line(tmp_path, told):
    path = tmp_path / "odd.py"
    path.write_text(f"class Odd(Exception):\n  def __str__(self): {told}\ndef get_config():\n  raise Odd\n")
    assert f"{path}, line 4: Odd" in problem_of(path) and len(problem_of(path)) < 1000
