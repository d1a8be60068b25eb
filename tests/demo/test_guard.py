"""Which host names are this server's."""

import pytest

from mnist_jax.demo.guard import is_known_host
from mnist_jax.demo.server import names_of


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.0.0.1:8000", True),
        ("192.168.1.7:8000", True),
        ("[::1]:8000", True),
        ("localhost", True),
        ("LOCALHOST:1", True),
        ("mine:8000", True),
        ("rebound.example", False),
        ("127.0.0.1.rebound.example", False),
        ("localhost.rebound.example:8000", False),
        ("127.0.0.1@rebound.example", False),
        ("", False),
        (":8000", False),
        ("[::1", False),
        ("[", False),
        ("é", False),
    ],
)
def test_is_known_host(host, expected):
    assert is_known_host(host, frozenset({"mine"})) is expected


def test_on_the_loopback_no_other_name_is_answered_to():
    assert names_of("127.0.0.1") == names_of("::1") == names_of("localhost") == frozenset()


def test_on_other_addresses_the_machine_goes_by_its_name(monkeypatch):
    monkeypatch.setattr("socket.gethostname", lambda: "Workshop")
    assert names_of("0.0.0.0") == {"0.0.0.0", "workshop", "workshop.local"}
