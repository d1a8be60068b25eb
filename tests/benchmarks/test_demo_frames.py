"""The parts of the frame rate's measurement that need no browser; tests/demo/test_page.py has the whole."""

import pytest

from benchmarks import demo_frames
from mnist_jax.errors import RunError


def test_frames_become_figures():
    figures = demo_frames.summarize([0.0, 16.0, 32.0, 48.0, 148.0], [2.0, 4.0, 3.0])
    assert figures == {
        "frames": 4,
        "frames_per_second": 27.0,
        "median_ms_a_frame": 16.0,
        "slowest_of_100_ms": 100.0,
        "median_ms_of_script": 3.0,
    }


@pytest.mark.parametrize(
    ("name", "is_software"),
    [
        (
            "ANGLE (Google, Vulkan 1.3.0 (SwiftShader Device (Subzero) (0x0000C0DE)), SwiftShader driver)",
            True,
        ),
        ("ANGLE (Mesa, llvmpipe (LLVM 15.0.6, 256 bits), OpenGL 4.5)", True),
        ("Adreno (TM) 740", False),
        ("", True),
    ],
)
def test_a_software_renderer_is_told_by_its_name(name, is_software):
    described = demo_frames.describe_renderer(name)
    assert described["is_software_renderer"] is is_software and described["renderer"]


def test_without_a_browser_the_command_says_so(monkeypatch):
    monkeypatch.setattr(demo_frames, "find_browser", lambda: None)
    with pytest.raises(RunError, match="no Chromium is installed"):
        demo_frames.main({})
