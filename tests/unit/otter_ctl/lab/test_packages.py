"""Which requests a lab's proxy carries on: to pip's own indexes, by CONNECT."""

from __future__ import annotations

import pytest

from otter_ctl.lab.packages import indexes, target


def test_the_indexes_that_pip_is_configured_to_use() -> None:
    found = indexes("""\
global.index-url='https://user:word@mirror.example.org:8443/simple'
global.extra-index-url='https://one.example.org/simple file:///opt/two http://plain.example.org/'
:env:.cert='/etc/ssl/certs'
""")
    assert ("mirror.example.org", 8443) in found
    assert ("one.example.org", 443) in found
    assert ("pypi.org", 443) in found
    assert "plain.example.org" not in {host for host, _ in found}


@pytest.mark.parametrize(
    ("head", "wanted"),
    [
        (b"CONNECT PyPI.org:443 HTTP/1.1\r\n\r\n", ("pypi.org", 443)),
        (b"CONNECT [::1]:22 HTTP/1.1\r\n\r\n", ("::1", 22)),
        (b"GET http://pypi.org/ HTTP/1.1\r\n\r\n", None),
        (b"CONNECT pypi.org HTTP/1.1\r\n\r\n", None),
        (b"CONNECT pypi.org:" + b"4" * 5000 + b" HTTP/1.1\r\n\r\n", None),
        (b"CONNECT :443 HTTP/1.1\r\n\r\n", None),
        (b"\xff\x00\r\n\r\n", None),
        (b"", None),
    ],
)
def test_where_a_request_wants_to(head: bytes, wanted: tuple[str, int] | None) -> None:
    assert target(head) == wanted
