"""Kinds of work in a compiled training step."""

import json
import subprocess
import sys

import pytest

from benchmarks.instructions import KINDS, describe_instructions, kind_of
from benchmarks.workers import ROOT


@pytest.mark.parametrize(
    ("operation", "kind"),
    [
        ("jvp(CNN)/conv1/convolution/dot_general", "convolution products"),
        ("transpose(jvp(CNN))/conv0/convolution/conv_general_dilated", "convolution products"),
        ("jvp(CNN)/conv1/convolution/concatenate", "convolution copies and sums"),
        ("transpose(jvp(CNN))/conv3/convolution/jit(_pad)/pad", "convolution copies and sums"),
        ("jvp(CNN)/conv0/reduce_sum", "BatchNorm, ReLU and biases"),
        ("transpose(jvp(CNN))/select_n", "BatchNorm, ReLU and biases"),
        ("jvp(CNN)/conv1/max_pool/max", "pooling"),
        ("jvp(CNN)/head/dot_general", "dense layers"),
        ("update_params/mul", "optimizer and averages"),
        ("augment_batch/vmap()/gather", "augmentation"),
        ("jit(_shuffle)/sort", "other"),
        ("", "other"),
    ],
)
def test_a_path_names_its_kind(operation, kind):
    assert kind_of(operation) == kind


HLO = """HloModule jit_run

%fused_product (p: f32[4]) -> f32[4] {
  %p = f32[4]{0} parameter(0)
  ROOT %dot.1 = f32[4]{0} dot(%p, %p), metadata={op_name="jvp(CNN)/conv1/convolution/dot_general"}
}

%m (p: f32[4]) -> f32[4] {
  %p.1 = f32[4]{0} parameter(0)
  ROOT %c = f32[4]{0} copy(%p.1), metadata={op_name="jvp(CNN)/conv1/convolution/dot_general"}
}

%fused_update (p: f32[4]) -> f32[4] {
  %n = f32[4]{0} multiply(%p, %p), metadata={op_name="update_params/mul"}
  ROOT %a = f32[4]{0} add(%n, %p), metadata={op_name="add"}
}

ENTRY %main (x: f32[4]) -> f32[4] {
  %x = f32[4]{0} parameter(0)
  %product = f32[4]{0} fusion(%x), kind=kCustom, calls=%fused_product, metadata={op_name="jvp(CNN)/conv1/add"}
  %copy = f32[4] fusion(%x), kind=kLoop, calls=%m, metadata={op_name="jvp(CNN)/conv1/convolution/dot_general"}
  %loop = f32[4]{0} while(%x), condition=%c, body=%b, metadata={op_name="while"}
  ROOT %update = f32[4]{0} fusion(%x), kind=kLoop, calls=%fused_update, metadata={op_name="add"}
}
"""


def test_fusions_are_told_apart_by_what_is_in_them():
    described = describe_instructions(HLO)
    assert described["product"]["kind"] == "convolution products"
    assert described["copy"]["kind"] == "convolution copies and sums"
    assert described["update"]["kind"] == "optimizer and averages"
    assert "loop" not in described


TRACE = """
import json
from benchmarks.contenders import Work
from benchmarks.contenders.ours import Steps, build_work_experiment
from benchmarks.instructions import describe_instructions, name_parts, traced_milliseconds

work = Work(batch_size=4, num_examples=16)
steps = Steps(name_parts(build_work_experiment(work)), work.images(), work.labels())
described = describe_instructions(steps.program(2).as_text())
steps.run(2)
milliseconds = traced_milliseconds(lambda: steps.run(2))
print(json.dumps(sorted({described[name]["kind"] for name in milliseconds if name in described})))
"""


@pytest.mark.slow
def test_a_trace_of_real_steps_finds_every_big_kind(monkeypatch):
    # In a process of its own, on one device.
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    traced = subprocess.run(
        [sys.executable, "-c", TRACE], cwd=ROOT, capture_output=True, text=True, check=True
    )
    found = set(json.loads(traced.stdout.splitlines()[-1]))
    assert found <= set(KINDS)
    assert {"convolution products", "BatchNorm, ReLU and biases", "dense layers"} <= found
    assert "optimizer and averages" in found
    assert "augmentation" not in found
