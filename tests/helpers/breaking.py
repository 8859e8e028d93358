"""A Unix socket in front of an agent's that breaks a connection where a test says so."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import threading
from collections.abc import Iterator
from pathlib import Path


class Breaking:
    """Use `breaking()`.

    Attributes:
        at: Bytes of a request with which its connection breaks, before the agent has them; empty:
            all passes.
        broke: How many connections have.
    """

    def __init__(self, path: Path, target: Path) -> None:
        self.at = b""
        self.broke = 0
        self._target = target
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(16)
        self._ended, self._end = os.pipe()
        self._thread = threading.Thread(target=self._serve, name="breaking")
        self._thread.start()

    def close(self) -> None:
        """End it, with all its connections."""
        os.write(self._end, b"x")
        self._thread.join()
        for descriptor in (self._ended, self._end):
            os.close(descriptor)
        self._listener.close()

    def _serve(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._ended, selectors.EVENT_READ)
            selector.register(self._listener, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    if key.fileobj == self._ended:
                        self._close_all(selector)
                        return
                    if key.fileobj is self._listener:
                        self._accept(selector)
                    elif isinstance(key.data, tuple):
                        self._pass_on(selector, key.fileobj, *key.data)

    def _close_all(self, selector: selectors.BaseSelector) -> None:
        for key in list(selector.get_map().values()):
            if isinstance(key.data, tuple):
                key.fileobj.close()  # type: ignore[union-attr]

    def _accept(self, selector: selectors.BaseSelector) -> None:
        near, _ = self._listener.accept()
        far = socket.socket(socket.AF_UNIX)
        far.connect(str(self._target))
        selector.register(near, selectors.EVENT_READ, (far, True))
        selector.register(far, selectors.EVENT_READ, (near, False))

    def _pass_on(
        self, selector: selectors.BaseSelector, source, target: socket.socket, asking: bool
    ) -> None:
        if source.fileno() < 0:
            return  # the other one ended both just now
        data = b""
        with contextlib.suppress(OSError):
            data = source.recv(1 << 16)
        breaks = asking and self.at and self.at in data
        if data and not breaks:
            with contextlib.suppress(OSError):
                target.sendall(data)
                return
        self.broke += bool(breaks)
        for one in (source, target):
            selector.unregister(one)
            one.close()


@contextlib.contextmanager
def breaking(path: Path, target: Path) -> Iterator[Breaking]:
    """At `path`, in front of `target`."""
    made = Breaking(path, target)
    try:
        yield made
    finally:
        made.close()
        path.unlink()
