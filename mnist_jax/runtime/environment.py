"""The environment of a run: versions, commit, device and memory, for the files of the run."""

import contextlib
import functools
import hashlib
import importlib.metadata
import os
import platform
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from mnist_jax.errors import RunError

# The smallest training went through with 4 GB and was aborted with 2.
_LEAST_ADDRESS_SPACE = 3_000_000_000
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def collect_versions() -> dict[str, str | None]:
    """Returns the versions of Python, this package and its libraries; ``None`` where one is not installed.

    And the compiler of the functions in C++, where this process uses them.
    """
    versions: dict[str, str | None] = {"python": platform.python_version(), "mnist_jax": package_version()}
    for package in _PACKAGES:
        name = package.removesuffix("-checkpoint")
        try:
            versions[name] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    # Whatever imports this file need not import JAX.
    from mnist_jax.ops.native import library

    return {**versions, "compiler": library.compiler_version()}


def package_version() -> str:
    """Returns the version of this package, also where its source is run without being installed."""
    try:
        return importlib.metadata.version("mnist-jax")
    except importlib.metadata.PackageNotFoundError:
        # Loaded long before anything asks; importing it from here would close a circle.
        return sys.modules["mnist_jax"].__version__


def require_address_space() -> None:
    """Makes sure that ``ulimit -v`` leaves enough for XLA, whose compiler aborts without a word of ours.

    Raises:
        RunError: it does not.
    """
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY and limit < _LEAST_ADDRESS_SPACE:
        raise RunError(
            f"this process may address {limit / 1e9:.1f} GB (ulimit -v), but JAX needs at least "
            f"{_LEAST_ADDRESS_SPACE / 1e9:.0f} GB to compile: raise the limit, or bound memory with a cgroup"
        )


def user_cache_dir() -> Path:
    """Returns ``$XDG_CACHE_HOME/mnist_jax``, by default ``~/.cache/mnist_jax``.

    A relative ``XDG_CACHE_HOME`` is ignored, as the XDG specification asks for. For a user without a home,
    as containers have them, it is a folder of the user's own below that for temporary files.
    """
    root = os.environ.get("XDG_CACHE_HOME", "")
    home = os.path.expanduser("~")
    if os.path.isabs(root):
        return Path(root) / "mnist_jax"
    if os.path.isabs(home):
        return Path(home) / ".cache" / "mnist_jax"
    folder = Path(tempfile.gettempdir()) / f"mnist_jax-{os.getuid()}"
    with contextlib.suppress(OSError):
        folder.mkdir(mode=0o700, exist_ok=True)
        # Anybody may make a folder of this name there, and compiled programs are run.
        if folder.lstat().st_uid == os.getuid() and folder.lstat().st_mode & 0o077 == 0:
            return folder
    return Path(tempfile.mkdtemp(prefix="mnist_jax-"))


def git_commit(package_folder: str | os.PathLike[str] | None = None) -> str | None:
    """Returns the commit this package's checkout is at, with ``-dirty`` where tracked files were changed.

    The current folder's repository is never read: a run is often started from somebody else's.

    Returns:
        40 hexadecimal digits, perhaps followed by ``-dirty``; ``None`` where the package is in no checkout of
        its own or git does not answer.
    """
    root = Path(package_folder or Path(__file__).parents[1]).resolve().parent
    # Only the checkout's own top: a virtual environment may lie inside somebody else's repository.
    if not (root / ".git").exists():
        return None
    commit = _git(root, "rev-parse", "--verify", "HEAD")
    if not commit:
        return None
    changes = _git(root, "status", "--porcelain", "--untracked-files=no")
    return f"{commit}-dirty" if changes else commit


@functools.cache
def running_commit() -> str | None:
    """Returns what `git_commit` returned when this process first called it.

    A run asks as it starts: an hour later the checkout may be at another commit than the code that runs.
    """
    return git_commit()


def _git(root: Path, *arguments: str) -> str | None:
    # A GIT_DIR in the environment (as inside a hook) would lead to another repository; the optional lock
    # would write into this one. In containers the checkout often belongs to another user, hence
    # safe.directory.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment["GIT_OPTIONAL_LOCKS"] = "0"
    settings = ["-c", f"safe.directory={root}", "-c", "core.fsmonitor=false"]
    try:
        result = subprocess.run(
            ["git", "-C", str(root), *settings, *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()


@functools.cache
def package_sha256() -> str:
    """Returns the SHA-256 over every file of this package as it is on the disk, names and contents."""
    root = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256()
    for path in sorted(path for path in root.rglob("*") if path.is_file() and path.suffix != ".pyc"):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.relative_to(root).as_posix()} {content}\n".encode())
    return digest.hexdigest()


def describe_device() -> dict[str, str | int]:
    """Returns ``device`` (one line), ``num_devices`` and ``num_processes`` of JAX' default platform.

    Starts JAX' backend if it has not been started, so call it after ``jax.distributed`` is initialized.
    """
    import jax

    device = jax.devices()[0]
    return {
        "device": describe_platform(device.platform, device.device_kind),
        "num_devices": jax.device_count(),
        "num_processes": jax.process_count(),
    }


def provenance() -> dict[str, Any]:
    """Returns what a summary says of how it came about: `describe_device`, ``versions``, ``git_commit``."""
    from mnist_jax.ops.native import library

    device = describe_device()
    if str(device["device"]).startswith("cpu:"):
        library.is_available()  # waits until it is known
    return {**device, "versions": collect_versions(), "git_commit": running_commit()}


def describe_platform(platform_name: str, device_kind: str) -> str:
    """Returns one line such as ``"gpu: NVIDIA H100 80GB HBM3"``; for a CPU its model and usable cores."""
    if platform_name != "cpu":
        return f"{platform_name}: {device_kind}"
    cores = usable_cores()
    return f"cpu: {cpu_model_name()}, {cores} {'core' if cores == 1 else 'cores'}"


def usable_cores() -> int:
    """Returns the number of logical cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_model_name(cpuinfo: str | os.PathLike[str] = "/proc/cpuinfo") -> str:
    """Returns the CPU's name as the system reports it, or the machine's architecture where it does not."""
    try:
        lines = Path(cpuinfo).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() == "model name" and value.strip():
            return " ".join(value.split())
    return platform.processor() or platform.machine() or "unknown"


def peak_host_memory_bytes() -> int | None:
    """Returns the most bytes this process has had resident; ``None`` where the system does not report it."""
    # Linux' getrusage also counts the process that forked this one, which may have been larger.
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    try:
        import resource
    except ImportError:  # not a POSIX system
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
