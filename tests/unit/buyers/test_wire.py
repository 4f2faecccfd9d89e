"""The light HTTP client reads what shops and proxies send, in any pieces, and refuses everything else."""

import pytest

from buyers import wire

PLAIN = (
    b"HTTP/1.1 409 Conflict\r\nContent-Type: application/problem+json\r\n"
    b'Retry-After: 1\r\nContent-Length: 7\r\n\r\n{"a":1}'
)
CHUNKED = (
    b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n{"a"\r\n3;x=y\r\n:1}\r\n0\r\n\r\n'
)


@pytest.mark.parametrize("answer", [PLAIN, CHUNKED], ids=["length", "chunks"])
def test_answer_is_read_when_it_is_whole_and_not_before(answer: bytes) -> None:
    assert all(wire.parse(answer[:size]) is None for size in range(len(answer)))
    whole = wire.parse(answer)
    assert whole is not None
    assert whole.body == b'{"a":1}'
    assert not whole.closes


def test_status_retry_after_and_close_are_read() -> None:
    answer = wire.parse(PLAIN)
    assert answer == wire.Response(status=409, body=b'{"a":1}', retry_after=1.0, closes=False)
    closing = wire.parse(b"HTTP/1.1 502 Bad\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
    assert closing == wire.Response(status=502, body=b"", retry_after=None, closes=True)
    assert wire.parse(b"HTTP/1.1 204 No Content\r\n\r\n") is not None


@pytest.mark.parametrize(
    ("received", "why"),
    [
        (b"SSH-2.0-x\r\n\r\n", "NotHttp"),
        (b"HTTP/1.1 200 OK\r\n\r\n", "NoLength"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n", "BodyTooLarge"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 40_000, "HeadTooLarge"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n",
            "BodyTooLarge",
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"z" * 40_000,
            "BadChunk",
        ),
    ],
)
def test_what_is_no_answer_or_too_large_is_refused(received: bytes, why: str) -> None:
    with pytest.raises(wire.WireError, match=why):
        wire.parse(received)
