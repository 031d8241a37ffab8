"""A wire between two parts that can be cut, slowed, stalled, or left half-open."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from pathlib import Path

_TCP_REPAIR = 19  # linux/tcp.h: a socket closed in this state sends its peer nothing
_LOOK_SECONDS = 0.2
_BYTES = 1 << 16


class Proxy:
    """Listens on loopback and passes on what comes to a Unix socket, and back."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._delay = 0.0
        self._refuses = False
        self._flows = threading.Event()
        self._flows.set()
        self._wires: list[tuple[socket.socket, socket.socket]] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more; end what there is."""
        self._listener.close()
        self.cut()

    def cut(self) -> None:
        """End every connection and refuse new ones, until `mend`."""
        self._refuses = True
        for wire in self._taken():
            _close(*wire)

    def slow(self, seconds: float) -> None:
        """Let every piece of data come so much later, until `mend`."""
        self._delay = seconds

    def stall(self) -> None:
        """Pass nothing on, and end nothing, until `mend`."""
        self._flows.clear()

    def mend(self) -> None:
        """Pass everything on again."""
        self._delay, self._refuses = 0.0, False
        self._flows.set()

    def leave_half_open(self) -> None:
        """Forget every connection without a word to who opened it, as a machine that restarts."""
        for near, far in self._taken():
            with contextlib.suppress(OSError):
                near.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR, 1)
            near.close()
            _close(far)

    def _taken(self) -> list[tuple[socket.socket, socket.socket]]:
        wires, self._wires = self._wires, []
        return wires

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.socket(socket.AF_UNIX)
            try:
                if self._refuses:
                    raise ConnectionRefusedError
                far.connect(str(self._target))
                near.settimeout(_LOOK_SECONDS)
                far.settimeout(_LOOK_SECONDS)
            except OSError:
                _close(near, far)
                continue
            self._wires.append((near, far))
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := _received(source):
                time.sleep(self._delay)
                self._flows.wait()
                sink.sendall(data)
        _close(source, sink)


def _received(source: socket.socket) -> bytes:
    while True:
        try:
            return source.recv(_BYTES)
        except TimeoutError:
            continue


def _close(*sockets: socket.socket) -> None:
    for one in sockets:
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
        one.close()
