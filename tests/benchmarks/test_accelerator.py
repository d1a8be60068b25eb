"""The stages for a device at hand: each result kept at once, what is missing done by the same command."""

import json
import signal
import subprocess
import sys
import time

import pytest

from benchmarks import accelerator
from benchmarks.accelerator import Stage
from benchmarks.workers import ROOT
from mnist_jax import cli
from mnist_jax.errors import ConfigError, RunError

STEPS = {
    "device": "cpu: test",
    "versions": {"jax": "1"},
    "batch_sizes": [{"batch_size": 64, "images_per_second": 1234.5}],
}
PROFILE = {"device": "cpu: test", "seconds_per_step": 0.002}


def write_stage(name, content, folder):
    """A stage whose command is a module that writes its JSON and says that it ran."""
    lines = [
        "import sys",
        f"open({str(folder / 'ran')!r}, 'a').write({name!r} + ' ')",
        f"open(sys.argv[-1].removeprefix('--json='), 'w').write({json.dumps(content)!r})"
        if content
        else "sys.exit('no such device')",
    ]
    module = f"stage_{name.replace('-', '_')}"
    (folder / f"{module}.py").write_text("\n".join(lines))
    return Stage(name, 30, (module,))


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Runs the command with two stages that take no time; returns what it printed and which stages ran."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    stages = [write_stage(n, c, tmp_path) for n, c in (("steps-float32", STEPS), ("profile", PROFILE))]
    monkeypatch.setattr(accelerator, "STAGES", tuple(stages))

    def run(*flags):
        (tmp_path / "ran").write_text("")
        words = ["--workdir", str(tmp_path / "results"), *flags]
        assert accelerator.main(cli.parse(accelerator.COMMAND, words)) == 0
        return capsys.readouterr().out, (tmp_path / "ran").read_text().split()

    return run


def test_a_result_that_is_there_is_not_measured_again(run, monkeypatch, tmp_path):
    done = accelerator.run_stage

    def interrupted(stage, *arguments):
        if stage.name == "profile":
            raise KeyboardInterrupt
        return done(stage, *arguments)

    monkeypatch.setattr(accelerator, "run_stage", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run()
    monkeypatch.setattr(accelerator, "run_stage", done)
    plot = tmp_path / "plot.png"
    out, ran = run("--json", str(tmp_path / "all.json"), "--plot", str(plot))
    assert ran == ["profile"]
    assert "images/s: 1,234 at 64" in out and "2.000 ms a step" in out
    assert "| cpu: test | 1,234 |" in out
    assert set(json.loads((tmp_path / "all.json").read_text())["stages"]) == {"steps-float32", "profile"}
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_what_there_is_no_time_for_is_left_out_and_done_later(run):
    out, ran = run("--only", "profile")
    assert ran == ["profile"]
    out, ran = run("--minutes", "0.1")
    assert ran == [] and "left out: 6 s were left" in out
    assert run()[1] == ["steps-float32"]


def test_a_stage_that_fails_is_named_and_tried_again(run, monkeypatch, tmp_path):
    broken = write_stage("members-1", None, tmp_path)
    monkeypatch.setattr(accelerator, "STAGES", (*accelerator.STAGES, broken))
    for expected in (["steps-float32", "profile", "members-1"], ["members-1"]):
        out, ran = run()
        assert ran == expected and "left out: ended with code 1: no such device" in out


def test_tiny_work_is_not_mixed_with_real_work(run):
    run("--only", "profile")
    with pytest.raises(RunError, match="with and without --small"):
        run("--small")
    with pytest.raises(ConfigError, match="there is no stage 'profiles'; expected steps-float32, profile"):
        run("--only", "profiles")


@pytest.mark.slow
def test_real_stages_in_small_are_interrupted_and_go_on(tmp_path):
    folder = tmp_path / "results"
    names = ["correctness", "steps-float32", "accuracy-default", "peers", "members-16", "profile"]
    command = [sys.executable, "-m", "benchmarks.accelerator", "--small", "--minutes=60"]
    command += [f"--only={','.join(names)}", f"--workdir={folder}", f"--json={tmp_path / 'all.json'}"]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE) as child:
        while not list(folder.glob("*.json")):
            assert child.poll() is None
            time.sleep(0.2)
        child.send_signal(signal.SIGTERM)
        child.communicate()
    assert child.returncode == 143
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*.json")}
    assert len(before) < len(names)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "all.json").read_text())
    assert result["left_out"] == {}, result["left_out"]
    assert set(result["stages"]) == set(names)
    assert all(path.stat().st_mtime_ns == time_ns for path, time_ns in before.items())
    checks = result["stages"]["correctness"]["result"]["checks"]
    assert checks["twice the same"] is True
    accuracies = [told for check, told in checks.items() if check.startswith("test accuracy")]
    assert len(accuracies) == 2 and accuracies[0] == accuracies[1] > 0.8
