"""A token is good for the address and session it was given for, for a while."""

from __future__ import annotations

from net.datagram.tokens import TOKEN_BYTES, VALID_S, Tokens

THERE = ("10.0.0.7", 5000)


def test_a_token_proves_itself_for_a_while():
    tokens = Tokens(b"secret")
    for begin in (0.0, 7.0, 1e6 + 9.999):
        token = tokens.give(THERE, 5, begin)
        assert len(token) == TOKEN_BYTES
        assert tokens.proves(token, THERE, 5, begin)
        assert tokens.proves(token, THERE, 5, begin + VALID_S)
        assert not tokens.proves(token, THERE, 5, begin + 2 * VALID_S)
        assert not tokens.proves(token, THERE, 5, begin - VALID_S)


def test_a_token_proves_nothing_else():
    token = Tokens(b"secret").give(THERE, 5, 0.0)
    tokens = Tokens(b"secret")
    assert not tokens.proves(token, ("10.0.0.8", 5000), 5, 0.0)
    assert not tokens.proves(token, ("10.0.0.7", 5001), 5, 0.0)
    assert not tokens.proves(token, THERE, 6, 0.0)
    assert not tokens.proves(b"", THERE, 5, 0.0)
    assert not Tokens(b"another").proves(token, THERE, 5, 0.0)
