"""When a process joins others, what it needs to know for that, and who may not be several."""

import pytest

from mnist_jax.errors import ConfigError
from mnist_jax.runtime import distributed

SLURM = {
    "SLURM_JOB_ID": "7",
    "SLURM_STEP_NODELIST": "node[1-2]",
    "SLURM_NTASKS": "2",
    "SLURM_PROCID": "1",
    "SLURM_LOCALID": "0",
}


@pytest.fixture
def asked(monkeypatch):
    """What JAX would have been asked for; nothing around the process tells of others."""
    import jax

    for name in (*SLURM, "JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"):
        monkeypatch.delenv(name, raising=False)
    calls = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda **arguments: calls.append(arguments))
    monkeypatch.setattr(distributed, "_say_at_abort", lambda message: None)
    monkeypatch.setattr(distributed, "_meet", lambda jax: None)
    monkeypatch.setattr(distributed, "take_turns", lambda: calls.append("take turns"))
    monkeypatch.setattr(jax.config, "update", lambda *arguments: None)
    return calls


def test_alone_it_stays_alone(asked, monkeypatch):
    distributed.join()
    monkeypatch.setenv("JAX_NUM_PROCESSES", "1")
    distributed.join()
    for name, value in (SLURM | {"SLURM_NTASKS": "1"}).items():
        monkeypatch.setenv(name, value)
    distributed.join()
    assert asked == []


def test_false_is_false_whatever_is_around(asked, monkeypatch):
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)
    distributed.join("false", "host:1", 2, 0)
    assert asked == []


def test_a_step_of_several_slurm_tasks_leaves_the_rest_to_jax(asked, monkeypatch):
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)
    distributed.join(timeout_seconds=7)
    before, arguments = asked
    assert before == "take turns"
    assert all(arguments[name] is None for name in ("coordinator_address", "num_processes", "process_id"))
    assert arguments["initialization_timeout"] == 7


def test_a_batch_script_of_slurm_without_a_step_is_alone(asked, monkeypatch):
    for name, value in SLURM.items():
        if name != "SLURM_STEP_NODELIST":
            monkeypatch.setenv(name, value)
    distributed.join()
    assert asked == []


def test_fields_and_variables_say_the_same(asked, monkeypatch):
    distributed.join("auto", "host:1", 3, 2)
    monkeypatch.setenv("JAX_COORDINATOR_ADDRESS", "host:1")
    monkeypatch.setenv("JAX_NUM_PROCESSES", "3")
    monkeypatch.setenv("JAX_PROCESS_ID", "2")
    distributed.join()
    _, fields, _, variables = asked
    assert fields == variables
    assert (fields["coordinator_address"], fields["num_processes"], fields["process_id"]) == (
        "host:1",
        3,
        2,
    )
    with pytest.raises(ConfigError, match="a study is trained by one process.*got 3"):
        distributed.refuse_several("a study")
    distributed.refuse_several("a study", "false")


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"JAX_NUM_PROCESSES": "two"}, "JAX_NUM_PROCESSES: expected a whole number, got 'two'"),
        ({"JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "2"}, "expected 0 to 1 of 2, got 2"),
    ],
)
def test_impossible_variables_are_named(asked, monkeypatch, variables, message):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=message):
        distributed.join()


def test_mpi_without_its_library_is_one_line(monkeypatch, tmp_path):
    monkeypatch.delenv("MPITRAMPOLINE_LIB", raising=False)
    distributed.check_collectives("gloo")
    with pytest.raises(ConfigError, match="=mpi: MPITRAMPOLINE_LIB is not set; expected"):
        distributed.check_collectives("mpi")
    library = tmp_path / "libmpiwrapper.so"
    monkeypatch.setenv("MPITRAMPOLINE_LIB", str(library))
    with pytest.raises(ConfigError, match="libmpiwrapper.so', which is no file; expected"):
        distributed.check_collectives("mpi")
    library.touch()
    distributed.check_collectives("mpi")
    monkeypatch.setenv("MPITRAMPOLINE_LIB", "libmpiwrapper.so")
    distributed.check_collectives("mpi")


@pytest.mark.parametrize(
    ("reason", "field"),
    [
        ("coordinator_address should be defined.", "coordinator_address"),
        ("Number of processes must be defined.", "num_processes"),
        ("The process id of the current process must be defined.", "process_id"),
    ],
)
def test_what_nothing_tells_is_named(asked, monkeypatch, reason, field):
    import jax

    def refuse(**arguments):
        raise ValueError(reason)

    monkeypatch.setattr(jax.distributed, "initialize", refuse)
    with pytest.raises(ConfigError, match=f"distributed.{field}: is not set, and not found"):
        distributed.join("true")


def test_one_process_is_the_first_and_has_lost_nobody():
    assert distributed.is_primary() and not distributed.is_multiprocess()
    assert not distributed.is_peer_failure(ValueError("Gloo AllReduce failed: Connection closed by peer"))
