"""Nothing is asked of the network: every test fails in which the package does so, or an import."""

import socket

import pytest


@pytest.mark.parametrize("host", ["192.0.2.1", "example.org"])
def test_tests_can_reach_nobody_else(host):
    with socket.socket() as one, pytest.raises(AssertionError, match=r"192.0.2.1 was asked"):
        one.connect(("192.0.2.1", 80))
    with pytest.raises(AssertionError, match=f"{host} was asked"):
        socket.getaddrinfo(host, 80)
