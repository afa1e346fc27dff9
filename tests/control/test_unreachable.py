"""Why nothing came back from somebody else's server."""

import socket
import ssl

import pytest

from edgeproxy.control.unreachable import reason


def caused(by: BaseException) -> Exception:
    error = OSError("all connection attempts failed")
    error.__cause__ = by
    return error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (caused(ConnectionRefusedError(111, "refused")), "connection refused"),
        (caused(BaseExceptionGroup("", [ConnectionRefusedError(111, "refused")])), "connection refused"),
        (caused(socket.gaierror(-2, "Name or service not known")), "its name cannot be looked up (name or service not known)"),
        (OSError("x" * 500), "x" * 200),
        (TimeoutError(), "TimeoutError"),
    ],
)
def test_the_cause_is_told_and_not_what_the_client_makes_of_it(error, said):
    assert reason(error) == said


def test_of_a_certificate_it_is_told_what_is_wrong_with_it():
    error = ssl.SSLCertVerificationError()
    error.verify_message = "self-signed certificate"
    assert reason(caused(error)) == "its TLS certificate is not trusted (self-signed certificate)"
