"""Joining the other processes of a run, and ending with them: JAX's own distributed runtime.

JAX is imported inside the functions: the command line asks here how to end before anything heavy is loaded.
"""

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any

from mnist_jax.errors import ConfigError, RunError
from mnist_jax.runtime.scheduling import take_turns

# A process that has not been heard of for so long is taken for dead. JAX' own 100 s are more than anyone
# wants to wait; much less would take a machine that swaps for a dead one.
HEARTBEAT_SECONDS = 20
# The first process may be writing the report while the others wait for it at the end.
_SHUTDOWN_SECONDS = 1800

# What JAX does not read itself; `launch` sets all three.
ADDRESS_VARIABLE = "JAX_COORDINATOR_ADDRESS"
COUNT_VARIABLE = "JAX_NUM_PROCESSES"
ID_VARIABLE = "JAX_PROCESS_ID"

_SLURM = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID")
_OPEN_MPI = ("OMPI_MCA_orte_hnp_uri", "OMPI_COMM_WORLD_SIZE")

# C calls it, so it must live as long as the process.
_abort_handler: Any = None


def join(
    initialize: str = "auto",
    coordinator_address: str = "",
    num_processes: int = 0,
    process_id: int = -1,
    timeout_seconds: int = 60,
) -> None:
    """Joins the other processes of the run, or does nothing where there are none.

    Call it before anything touches a device. Afterwards a process that dies, or is not heard of for
    ``HEARTBEAT_SECONDS``, ends all others with one line that begins with ``error:`` and exit code 1.

    Args:
        initialize: ``true``: join; ``false``: stay alone; ``auto``: join where the arguments, the variables
            ``JAX_COORDINATOR_ADDRESS``, ``JAX_NUM_PROCESSES`` and ``JAX_PROCESS_ID``, a SLURM or Open MPI
            step of several tasks, or a TPU VM say so. Without any of them the network is not touched.
        coordinator_address: ``HOST:PORT`` of process 0; empty = read from the environment.
        num_processes: of the run; 0 = read from the environment.
        process_id: of this one, from 0; -1 = read from the environment.
        timeout_seconds: how long to wait for the others to arrive.

    Raises:
        ConfigError: something is missing that the environment does not say either, or it is impossible.
        RunError: the others cannot be reached.
    """
    address = coordinator_address or os.environ.get(ADDRESS_VARIABLE, "")
    count = num_processes or _number(COUNT_VARIABLE, 0)
    index = process_id if process_id >= 0 else _number(ID_VARIABLE, -1)
    if not _is_asked_for(initialize, count, address):
        return
    import jax

    if jax.distributed.is_initialized():
        return
    check_collectives(jax.config.values.get("jax_cpu_collectives_implementation"))
    if count and index >= count:
        raise ConfigError([f"distributed.process_id: expected 0 to {count - 1} of {count}, got {index}"])
    # The run answers SIGTERM itself; JAX' service would take the signal away from it.
    jax.config.update("jax_enable_preemption_service", False)
    jax.config.update("jax_check_proxy_envs", False)
    who = f"process {index}" if index >= 0 else "this process"
    take_turns()  # before the threads of JAX' runtime start
    _say_at_abort(
        f"{who} did not find all others{f' of {count} processes' if count else ''} within "
        f"{timeout_seconds} s{f' at {address}' if address else ''}; start all of them at about the same "
        "time, or raise --config.distributed.timeout_seconds"
    )
    try:
        jax.distributed.initialize(
            coordinator_address=address or None,
            num_processes=count or None,
            process_id=index if index >= 0 else None,
            initialization_timeout=timeout_seconds,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
            shutdown_timeout_seconds=_SHUTDOWN_SECONDS,
            # Among processes of one machine nobody else needs to be able to reach the port.
            coordinator_bind_address=address if address.startswith(("127.0.0.1:", "localhost:")) else None,
        )
    except ValueError as error:
        raise ConfigError([_what_is_missing(str(error))]) from error
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise RunError(
            f"{who} cannot join the others{f' at {address}' if address else ''}: {reason}"
        ) from error
    _say_at_abort(PEER_LOST)
    with lost_processes():
        _meet(jax)


def check_collectives(implementation: str | None) -> None:
    """Checks how processes on CPUs are to talk: by Gloo, or by MPI.

    XLA loads MPI through MPItrampoline alone, which ends the process where it is told of no library. A name
    without a folder is the dynamic linker's to find.

    Args:
        implementation: JAX' ``jax_cpu_collectives_implementation``.

    Raises:
        ConfigError: it is ``mpi``, and ``MPITRAMPOLINE_LIB`` is empty or a path without a file.
    """
    library = os.environ.get("MPITRAMPOLINE_LIB", "")
    names_one = os.path.isfile(library) if "/" in library else bool(library)
    if implementation == "mpi" and not names_one:
        found = f"is {library!r}, which is no file" if library else "is not set"
        raise ConfigError(
            [
                f"JAX_CPU_COLLECTIVES_IMPLEMENTATION=mpi: MPITRAMPOLINE_LIB {found}; expected the library "
                "that https://github.com/eschnett/MPIwrapper makes of an MPI"
            ]
        )


def refuse_several(what: str, initialize: str = "auto", num_processes: int = 0, **others: object) -> None:
    """Refuses to start ``what``, such as ``"a study"``, as one of several processes; for the rest see `join`.

    Raises:
        ConfigError: `join` would have joined others.
    """
    # A TPU VM may be one of many or alone; there the lock of the folder refuses the second.
    count = num_processes or _number(COUNT_VARIABLE, 0)
    if count > 1 and initialize != "false":
        raise ConfigError(
            [
                f"distributed.num_processes: {what} is trained by one process, which uses all devices of "
                f"its machine; expected 1, got {count}"
            ]
        )


PEER_LOST = (
    "another process of this run has ended or cannot be reached, so this one ends too; the same command, "
    "started for all of them, goes on from the last checkpoint"
)


def is_primary() -> bool:
    """Whether this is the process that writes and prints: process 0, or the only one."""
    jax = sys.modules.get("jax")
    return jax is None or not jax.distributed.is_initialized() or jax.process_index() == 0


def is_multiprocess() -> bool:
    """Whether the run has more than one process."""
    jax = sys.modules.get("jax")
    return jax is not None and jax.distributed.is_initialized() and jax.process_count() > 1


@contextlib.contextmanager
def lost_processes() -> Iterator[None]:
    """Turns what a collective raises when another process is gone into one clear line.

    Raises:
        RunError: in place of the error of the collective's library.
    """
    try:
        yield
    except (RuntimeError, ValueError) as error:
        if not is_peer_failure(error):
            raise
        raise RunError(PEER_LOST) from error


def is_peer_failure(error: BaseException) -> bool:
    """Whether an error says that another process of the run is gone."""
    import jax

    if not jax.distributed.is_initialized():
        return False
    text = str(error)
    signs = ("Gloo", "gloo", "NCCL", "coordination", "Coordination", "Connection closed", "Connection reset")
    return any(sign in text for sign in signs)


def end_at_once(code: int) -> None:
    """Ends a failed process of several without waiting for the others, who are told by its end.

    Otherwise JAX would wait at exit until all processes are there, and the others wait for this one. Does
    nothing in a process of its own, nor where all have agreed to end.
    """
    jax = sys.modules.get("jax")
    if jax is None or code == 0 or _agreed_to_end or not jax.distributed.is_initialized():
        return
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(code)


_agreed_to_end: list[bool] = []


def agree_to_end() -> None:
    """Declares that all processes are about to end, whatever the exit code: they wait for each other."""
    _agreed_to_end.append(True)


def _meet(jax: Any) -> None:
    """Connects the processes now: what the collectives' library prints then is not output of the run."""
    import numpy as np
    from jax.experimental import multihost_utils
    from jax.sharding import Mesh, NamedSharding, PartitionSpec

    with _quiet_stdout():
        multihost_utils.sync_global_devices("mnist_jax: joined")
        # The same for the group of all devices, which training uses.
        mesh = Mesh(np.array(jax.devices()), ("data",))
        ones = jax.make_array_from_callback(
            (mesh.size,), NamedSharding(mesh, PartitionSpec("data")), lambda index: np.ones(1, np.float32)
        )
        total = jax.jit(lambda x: x.sum(), out_shardings=NamedSharding(mesh, PartitionSpec()))(ones)
        jax.block_until_ready(total)


@contextlib.contextmanager
def _quiet_stdout() -> Iterator[None]:
    try:
        sys.stdout.flush()
        kept = os.dup(1)
    except (OSError, ValueError, AttributeError):
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def _is_asked_for(initialize: str, count: int, address: str) -> bool:
    # An address without a number of processes is half of what was meant: the other half is then asked for.
    given = count > 1 or (count == 0 and bool(address))
    return initialize == "true" or (initialize == "auto" and (given or _environment_names_several()))


def _environment_names_several() -> bool:
    """Whether the environment says that this process is one of several."""
    if all(name in os.environ for name in _SLURM) and _number("SLURM_NTASKS", 1) > 1:
        return True
    if all(name in os.environ for name in _OPEN_MPI) and _number("OMPI_COMM_WORLD_SIZE", 1) > 1:
        return True
    if os.environ.get("TPU_WORKER_HOSTNAMES", "").count(","):
        return True
    try:
        # True only where JAX found TPU chips; a TPU VM of its own is found to be one process.
        from jax._src.cloud_tpu_init import running_in_cloud_tpu_vm
    except ImportError:
        return False
    return bool(running_in_cloud_tpu_vm)


def _number(variable: str, default: int) -> int:
    text = os.environ.get(variable, "")
    try:
        return int(text) if text else default
    except ValueError:
        raise ConfigError([f"{variable}: expected a whole number, got {text!r}"]) from None


def _what_is_missing(reason: str) -> str:
    for word, field, example in (
        ("coordinator_address", "coordinator_address", "HOST:PORT of process 0"),
        ("Number of processes", "num_processes", "the number of processes"),
        ("process id", "process_id", "0 for the first, 1 for the second, ..."),
    ):
        if word in reason:
            return (
                f"distributed.{field}: is not set, and not found in the environment (SLURM, Open MPI, "
                f"a TPU pod, {ADDRESS_VARIABLE} and the like); give {example}, or "
                "--config.distributed.initialize=false"
            )
    return f"distributed: {reason}"


def _say_at_abort(message: str) -> None:
    """Makes the process end with a line of ours and exit code 1 where JAX' runtime would abort.

    When the connection to process 0 breaks or a heartbeat is missed, the runtime calls ``abort()`` in a
    thread of its own, whatever the rest of the process waits for. Its callback for this cannot be a Python
    function (jaxlib fails to convert the argument), so the signal of ``abort()`` is taken instead. It comes
    synchronously in that thread, which holds no lock of Python's.
    """
    global _abort_handler

    line = f"error: {message}\n".encode()

    def end(number: int) -> None:
        with contextlib.suppress(OSError):
            os.write(2, line)
        os._exit(1)

    handler: Callable[..., Any] = ctypes.CFUNCTYPE(None, ctypes.c_int)(end)
    take = ctypes.CDLL(None).signal
    take.argtypes, take.restype = (ctypes.c_int, ctypes.c_void_p), ctypes.c_void_p
    take(int(signal.SIGABRT), ctypes.cast(handler, ctypes.c_void_p))  # type: ignore[arg-type]
    _abort_handler = handler
