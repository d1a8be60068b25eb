"""Programs for accelerators that are not there: how they are read, and what they were counted to be."""

import json
import os
import subprocess
import sys

import pytest

from benchmarks import compile_for, compiled_program
from benchmarks.absent_devices import TARGETS, missing_packages
from benchmarks.workers import ROOT
from mnist_jax import cli
from mnist_jax.errors import ConfigError, RunError

HLO = """HloModule jit_run

%fused_gather (p: f32[4]) -> f32[4] {
  ROOT %g = f32[4]{0} gather(%p, %p), metadata={op_name="jit(run)/augment_batch/gather"}
}

%short (p: f32[4]) -> f32[4] {
  ROOT %s = f32[4]{0} add(%p, %p)
}

%steps (p: (f32[4], s32[])) -> (f32[4], s32[]) {
  %p = (f32[4]{0}, s32[]) parameter(0)
  %x = f32[4]{0} get-tuple-element(%p), index=0
  %warp = f32[4]{0} fusion(%x), kind=kLoop, calls=%fused_gather, metadata={op_name="augment_batch/gather"}
  %conv = (bf16[2,3]{1,0}, u8[0]{0}) custom-call(%warp), metadata={op_name="jvp(CNN)/conv1/convolution"}, \
backend_config={"estimated_cycles":"70"}
  %back = f32[4]{0} fusion(%conv), calls=%short, metadata={op_name="transpose(jvp(CNN))/conv1/mul"}, \
backend_config={"estimated_cycles":"25"}
  %loss = f32[4]{0} fusion(%conv), kind=kLoop, calls=%short, metadata={op_name="jvp()/neg"}
  %sum = (f32[2,3]{1,0}, bf16[10]{0}) all-reduce(%back, %x), to_apply=%add
  ROOT %t = (f32[4]{0}, s32[]) tuple(%sum, %x)
}

ENTRY %main (x: f32[4]) -> f32[4] {
  %sort = f32[4] while(%x), condition=%c, body=%short, backend_config={"known_trip_count":{"n":"3"}}
  %loop = (f32[4]) while(%x), condition=%c, body=%steps, backend_config={"known_trip_count":{"n":"937"}}
  ROOT %r = f32[4]{0} get-tuple-element(%loop), index=0
}
"""

THUNKS = """000: kCommandBuffer [source | next=003 (1)]
    001: kCopy         [source | sink] kCopy
    002: kCustomKernel [source | sink] sort grid: [1, 1, 1]
003: kWhile         [prev=000 (1) | next=000 (1)]
condition:
    004: kCustomKernel [source | sink] compare
  body:
    000: kCommandBuffer [source | next=007 (1)]
        005: kCustomKernel [source | sink] add
        006: kCustomKernel [source | sink] mul
    007: kConvolution   [prev=000 (1) | sink] kConvolution
008: kCustomKernel [prev=003 (1) | sink] add
"""

ONE_GRAPH = """000: kCommandBuffer [source | sink]
    001: kCopy         [source | sink] kCopy
    002: kWhile        [prev=001 (1) | sink]
condition:
        003: kCustomKernel [source | sink] compare
      body:
        004: kCustomKernel [source | sink] add
        005: kConvolution  [source | sink] kConvolution
"""


@pytest.fixture(scope="module")
def loop():
    computations = compiled_program.read_computations(HLO)
    return computations, *compiled_program.training_loop(computations)


def test_the_training_loop_is_the_largest_and_its_work_is_counted(loop):
    _, body, iterations = loop
    assert iterations == 937
    working = compiled_program.working_instructions(body)
    assert [instruction.name for instruction in working] == ["warp", "conv", "back", "loss", "sum"]
    assert compiled_program.kernels_by_layer(body) == {
        "augmentation": 1,
        "conv1 forward": 1,
        "conv1 backward": 1,
        "loss": 1,
        "optimizer, averages and the rest": 1,
    }


def test_a_loop_that_does_not_say_its_count_has_it_in_its_condition(loop):
    tpu = HLO.replace(', backend_config={"known_trip_count":{"n":"937"}}', "").replace(
        "ENTRY",
        """%c (p: (f32[4], s32[])) -> pred[] {
  %limit = s32[]{:T(128)} constant(120)
  ROOT %lt = pred[] compare(%p, %limit), direction=LT
}

ENTRY""",
    )
    body, iterations = compiled_program.training_loop(compiled_program.read_computations(tpu))
    assert (len(body), iterations) == (len(loop[1]), 120)


def test_estimates_are_added_up_and_gathers_without_one_are_counted(loop):
    computations, body, _ = loop
    assert compiled_program.cycles_by_layer(body) == {"conv1 forward": 70, "conv1 backward": 25}
    assert compiled_program.count_unpriced_gathers(body, computations) == 1


def test_collectives_are_listed_with_their_bytes_and_types(loop):
    assert compiled_program.find_collectives(loop[1]) == [
        {"kind": "all-reduce", "dtypes": ["bf16", "f32"], "bytes": 2 * 3 * 4 + 10 * 2}
    ]


def test_a_program_without_a_loop_over_steps_is_refused():
    with pytest.raises(ValueError, match="no loop whose count is known"):
        compiled_program.training_loop(compiled_program.read_computations("ENTRY %main () -> f32[] {\n}\n"))


@pytest.mark.parametrize(
    ("thunks", "per_iteration", "once", "one_graph"), [(THUNKS, 2, 2, False), (ONE_GRAPH, 0, 1, True)]
)
def test_launches_of_the_host_are_counted_in_and_around_the_loop(thunks, per_iteration, once, one_graph):
    assert compiled_program.count_launches(thunks) == {
        "per_iteration": per_iteration,
        "once": once,
        "loop_is_one_graph": one_graph,
    }


@pytest.mark.parametrize("words", [[], ["h200"], ["h100", "v5e"]])
def test_another_accelerator_is_refused_in_one_line(words):
    with pytest.raises(ConfigError, match="expected one accelerator of h100, v5e, v6e, got"):
        compile_for.main(cli.parse(compile_for.COMMAND, words))


def test_missing_packages_are_named(monkeypatch):
    monkeypatch.setattr("benchmarks.absent_devices._is_installed", lambda module: False)
    with pytest.raises(RunError, match="expected: pip install jax-cuda13-pjrt jax-cuda13-plugin$"):
        compile_for.main(cli.parse(compile_for.COMMAND, ["h100"]))
    with pytest.raises(RunError, match="expected: pip install libtpu$"):
        compile_for.main(cli.parse(compile_for.COMMAND, ["v5e"]))


GOLDEN = sorted((compile_for.RESULTS_DIR / "compiled").glob("*.json"))


@pytest.mark.accelerator_compile
@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_the_counts_are_those_that_were_kept(path, tmp_path):
    golden = json.loads(path.read_text())
    settings = golden["settings"]
    assert compile_for.golden_file(settings) == path
    if missing := missing_packages(settings["target"]):
        pytest.skip(f"not installed: {', '.join(missing)}")
    flags = [f"--{name}={value}" for name, value in settings.items() if name != "target"]
    # A process of its own, as JAX has other devices here, and flags that are of this machine's XLA.
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    subprocess.run(
        [
            sys.executable,
            "-m",
            "benchmarks.compile_for",
            settings["target"],
            *flags,
            "--json",
            tmp_path / "r",
        ],
        cwd=ROOT,
        env=environment,
        check=True,
        capture_output=True,
    )
    counted = json.loads((tmp_path / "r").read_text())["counts"]
    # Bytes move with the compiler's choices; a tenth more would be a change.
    for name in ("argument_bytes", "scratch_bytes"):
        assert counted.pop(name) <= 1.1 * golden["counts"].pop(name)
    assert counted == golden["counts"]


def test_the_lean_step_is_kept_lean():
    counts = {path.stem: json.loads(path.read_text())["counts"] for path in GOLDEN}
    assert counts["h100x1-batch64-float32"]["kernels_per_step"] <= 80
    assert counts["h100x1-batch64-float32-epoch"]["launches_per_epoch"] == 1
    one, many = counts["h100x1-batch64-float32"], counts["h100x1-batch64-float32-16members"]
    assert many["kernels_per_step"] <= 1.5 * one["kernels_per_step"]
    shared = counts["v5ex4-batch1024-bfloat16"]["collectives"]
    assert 0 < len(shared) <= 12
    assert {dtype for collective in shared for dtype in collective["dtypes"]} <= {"f32", "s32"}


def test_every_target_has_its_topologies():
    assert {tuple(target.topology) for target in TARGETS.values()} == {(1, 2, 4, 8)}
