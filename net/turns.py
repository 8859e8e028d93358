"""A turn that its holder keeps: what it and the arbiter share beside their connection.

The token is an eventfd with one in it: whoever reads that has the turn, and the kernel gives it to
one only. Between two of its turns a holder leaves it there, and takes it again without a word to
anybody, unless the arbiter has read it meanwhile, as somebody else wants a turn. On the page the
holder notes what it had (who computes without turns wasn't held up either, so it is believed), and
the arbiter what the holder should know. It is read and written without a call of the kernel's: of
those each costs 5 to 25 us on a processor that has just computed something else.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
from contextlib import suppress

_PAGE_BYTES = mmap.PAGESIZE
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
_HELD, _TURNS, _SINCE, _SAID = 0, 1, 2, 3
"""Nanoseconds of turns that have ended; how many; when the one that lasts began, or 0; a word."""
NOTHING, WANTED, REVOKED = 0, 1, 2
"""Words of the arbiter's: go on; others wait, so ask again; the turn was taken from its user."""


class Kept:
    """Either side's.

    Args:
        token: An eventfd; closed with this.
        page: A file of a page; may be closed afterwards.
    """

    def __init__(self, token: int, page: int) -> None:
        self.token = -1  # not ours to close until there is a page as well
        self._page = mmap.mmap(page, _PAGE_BYTES)
        self._noted = memoryview(self._page).cast("Q")
        self.token = token

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Both descriptors; again is nothing."""
        token, self.token = self.token, -1
        if token >= 0:
            with suppress(OSError):
                os.close(token)
        if hasattr(self, "_noted"):  # there may have been no memory for it
            self._noted.release()
            self._page.close()

    # --- the holder's side -----------------------------------------------------------------------

    @property
    def said(self) -> int:
        """The arbiter's newest word."""
        return self._noted[_SAID]

    def again(self) -> bool:
        """Take the token, if it is still there."""
        try:
            return os.eventfd_read(self.token) > 0
        except BlockingIOError:
            return False

    def began(self, now_ns: int) -> None:
        """Note that a turn has begun."""
        self._noted[_SINCE] = now_ns

    def ended(self, now_ns: int) -> None:
        """Note that it has ended, and leave the token."""
        noted = self._noted
        held_ns, noted[_SINCE] = max(0, now_ns - noted[_SINCE]), 0
        noted[_HELD] += held_ns
        noted[_TURNS] += 1
        os.eventfd_write(self.token, 1)

    # --- the arbiter's side ----------------------------------------------------------------------

    def take(self) -> bool:
        """The same as `again`, and never waits, whatever the holder made of the descriptor."""
        try:
            return os.preadv(self.token, [bytearray(8)], -1, os.RWF_NOWAIT) > 0
        except BlockingIOError:
            return False
        except OSError as error:
            return error.errno == errno.EOPNOTSUPP and self.again()  # Linux before 5.8

    def say(self, word: int) -> None:
        """What the holder sees when it ends its turn or begins another."""
        self._noted[_SAID] = word

    def noted(self) -> tuple[int, int, int]:
        """Nanoseconds of all turns that have ended; how many; when the one that lasts began."""
        noted = self._noted
        return noted[_HELD], noted[_TURNS], noted[_SINCE]


def made() -> tuple[Kept, int]:
    """The arbiter's, without a token, and the page for the holder, to be closed.

    Raises:
        OSError: There are no more descriptors.
    """
    page = os.memfd_create("otter-turns", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(page, _PAGE_BYTES)
        fcntl.fcntl(page, fcntl.F_ADD_SEALS, _SEALS)  # who shortened it would end the arbiter
        return kept(os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK), page), page
    except BaseException:
        os.close(page)
        raise


def kept(token: int, page: int) -> Kept:
    """Closes the token if there is no memory for a page."""
    try:
        return Kept(token, page)
    except BaseException:
        with suppress(OSError):
            os.close(token)
        raise
