"""The functions in C++: compiled when they are first needed, kept, loaded, and made known to XLA.

The libraries lie where JAX keeps compiled programs, for they are some: the next process loads them in a
millisecond. Where there is no compiler, or what it makes cannot be used, everything is computed without.
"""

import ctypes
import functools
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import cast

import jax

_FUNCTIONS = ("", "_images_gradient", "_kernel_gradient")  # each library has, behind its own name
_LIBRARIES = ("winograd", "direct")
_HEADERS = ("shape.h", "block.h", "product.h", "call.h")
_COMPILERS = ("c++", "g++", "clang++")
_LONGEST_SECONDS = 300
_OFF = "MNIST_JAX_NATIVE"

_on_note: list[Callable[[str], None]] = []
_lock = threading.Lock()
_loaded = threading.Event()


class _CannotCompileError(Exception):
    """Why there are no libraries, in a few words."""


def begin(backend: str) -> None:
    """Begins to compile what is not kept yet, beside what follows; nothing but on a ``cpu``."""
    if backend == "cpu":
        threading.Thread(target=_load, daemon=True).start()


def on_trouble(on_note: Callable[[str], None]) -> None:
    """Has one line told where the functions cannot be made: then convolutions take longer."""
    _on_note.append(on_note)


def is_available() -> bool:
    """Whether XLA can call the functions; waits until they are compiled."""
    return _load() is not None


def compiler_version() -> str | None:
    """Returns what the functions were compiled with, such as ``GCC 12.2.0``; None where they are not used."""
    return _load() if _loaded.is_set() else None


def _load() -> str | None:
    with _lock:
        version = _load_once()
        _loaded.set()
    return version


@functools.cache
def _load_once() -> str | None:
    """Loads the libraries and registers their functions; returns what they were compiled with."""
    if os.environ.get(_OFF, "").lower() in ("0", "off", "false", "no"):
        return None
    try:
        libraries = _find_or_compile(_kept_in())
        return [_register(name, library) for name, library in libraries.items()][0]
    except _CannotCompileError as error:
        for on_note in _on_note[-1:]:
            on_note(f"convolutions are computed without C++, which takes longer: {error}")
        return None


def _kept_in() -> Path | None:
    """The folder of kept libraries, below JAX' folder of compiled programs; None where none are kept."""
    folder = jax.config.values.get("jax_compilation_cache_dir")
    if not folder or not jax.config.values.get("jax_enable_compilation_cache") or "://" in folder:
        return None
    return Path(folder) / "native"


def _register(name: str, library: ctypes.CDLL) -> str:
    """Makes the functions of a library known to XLA; returns what it was compiled with."""
    for function in _FUNCTIONS:
        target = f"mnist_jax_{name}{function}"
        jax.ffi.register_ffi_target(target, jax.ffi.pycapsule(getattr(library, target)), platform="cpu")
    version = getattr(library, f"mnist_jax_{name}_compiler")
    version.restype = ctypes.c_char_p
    return version().decode()


def _find_or_compile(folder: Path | None) -> dict[str, ctypes.CDLL]:
    """Loads each library, of the kept ones or of those it compiles, side by side."""
    try:
        if folder:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        kept = {name: _find(folder, name) for name in _LIBRARIES}
        if all(kept.values()):
            return {name: ctypes.CDLL(str(path)) for name, path in kept.items()}
        with tempfile.TemporaryDirectory(prefix="mnist_jax-", dir=folder) as temporary:
            targets = {name: Path(temporary) / f"{name}.so" for name in _LIBRARIES}
            running = [_start_compiler(name, target) for name, target in targets.items()]
            if failures := [failure for failure in map(_wait_for, running) if failure]:
                raise _CannotCompileError(failures[0])
            if folder:
                targets = {name: _keep(folder, name, built) for name, built in targets.items()}
            return {name: ctypes.CDLL(str(path)) for name, path in targets.items()}
    except OSError as error:
        raise _CannotCompileError(" ".join(str(error).split())) from error


def _find(folder: Path | None, name: str) -> Path | None:
    """Finds a kept library; one that is damaged would end the process that loads it."""
    paths = folder.glob(f"{name}-{_sum_of_sources(name)}-*.so") if folder else ()
    return next((path for path in paths if path.stem.endswith(f"-{_sum(path.read_bytes())}")), None)


def _keep(folder: Path, name: str, built: Path) -> Path:
    """Moves a library to where it is kept; its name ends in the sum of what is in it."""
    return built.replace(folder / f"{name}-{_sum_of_sources(name)}-{_sum(built.read_bytes())}.so")


def _sum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _sum_of_sources(name: str) -> str:
    """Sums up what a library is made of and for: sources, flags, jaxlib, processor, a named compiler."""
    of = hashlib.sha256()
    for source in (f"{name}.cc", *_HEADERS):
        of.update(Path(__file__).with_name(source).read_bytes())
    for text in (os.environ.get("CXX", ""), *_flags(), jax.lib.__version__, platform.machine(), *_features()):
        of.update(f"{text}\n".encode())
    return of.hexdigest()[:16]


def _features() -> list[str]:
    """What the processor can do, as Linux tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
    except OSError:
        return [platform.processor()]
    return sorted(
        {line for line in lines if line.startswith(("flags", "Features", "model name", "CPU part"))}
    )


def _flags() -> list[str]:
    of_this_machine = "-march=native" if platform.machine() in ("x86_64", "AMD64") else "-mcpu=native"
    return ["-std=c++17", "-O3", of_this_machine, "-fno-exceptions", "-fno-rtti", "-fPIC", "-shared", "-w"]


def _start_compiler(name: str, to: Path) -> subprocess.Popen:
    """Starts the compiler on a source.

    Raises:
        _CannotCompileError: there is none.
    """
    words = shlex.split(os.environ.get("CXX", ""))
    found = words[:1] or [path for name in _COMPILERS if (path := shutil.which(name))][:1]
    if not found:
        raise _CannotCompileError(f"there is no C++ compiler; expected {', '.join(_COMPILERS)}, or CXX")
    source = Path(__file__).with_name(f"{name}.cc")
    command = [*found, *words[1:], *_flags(), f"-I{jax.ffi.include_dir()}", str(source), "-o", str(to)]
    # In a session of its own: Ctrl-C asks this process to save and stop, not the compiler to fail.
    return subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
    )


def _wait_for(compiler: subprocess.Popen) -> str | None:
    """Waits for a compiler; returns why it failed, if it did."""
    name = Path(cast(list[str], compiler.args)[0]).name
    with compiler:
        try:
            _, output = compiler.communicate(timeout=_LONGEST_SECONDS)
        except subprocess.TimeoutExpired:
            compiler.kill()
            return f"{name} took longer than {_LONGEST_SECONDS} s"
    if compiler.returncode == 0:
        return None
    lines = [*output.decode("utf-8", "replace").splitlines(), f"exit code {compiler.returncode}"]
    first = next((line for line in lines if "error" in line), lines[-1])
    return f"{name} failed: {first[:200]}"
