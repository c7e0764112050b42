"""Keep the head and the tail of what a process prints, however much it prints."""

from __future__ import annotations

from collections import deque


class Capture:
    """A bounded record of one output stream: the first half and the last half of `limit_bytes`."""

    def __init__(self, limit_bytes: int) -> None:
        self._room = max(2, limit_bytes) // 2
        self._head = bytearray()
        self._tail: deque[bytes] = deque()
        self._tail_bytes = 0
        self._total = 0

    @property
    def truncated(self) -> bool:
        """Whether some of the stream was dropped."""
        return self._total > 2 * self._room

    def write(self, data: bytes) -> None:
        """Take the next bytes of the stream."""
        self._total += len(data)
        if (free := self._room - len(self._head)) > 0:
            self._head += data[:free]
            data = data[free:]
        if data:
            self._tail.append(data)
            self._tail_bytes += len(data)
            while self._tail_bytes - len(self._tail[0]) >= self._room:
                self._tail_bytes -= len(self._tail.popleft())

    def text(self) -> str:
        """What was kept, as text, with a note where something is missing."""
        tail = b"".join(self._tail)[-self._room :]
        if not self.truncated:
            return (bytes(self._head) + tail).decode(errors="replace")
        n_cut = self._total - len(self._head) - len(tail)
        note = f"\n[... {n_cut} bytes cut here ...]\n"
        return self._head.decode(errors="replace") + note + tail.decode(errors="replace")
