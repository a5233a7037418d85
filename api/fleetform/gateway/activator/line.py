"""How many requests may wait, and whose: bounded by count and by bytes, and shared between projects."""

from collections import Counter


class Line:
    """requests, size: how many may wait, and how many bytes they may have.

    A project may hold as many as are still free: alone half of them, two projects a third each. Whatever others do, a project that holds
    nothing finds room. Source: dynamic thresholds of Choudhury and Hahne (1998) with alpha = 1.
    """

    def __init__(self, requests: int, size: int) -> None:
        self._requests, self._size = requests, size
        self._count: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()

    def enter(self, project: str, size: int) -> bool:
        """Take a place for a request of so many bytes; False when project has as many as it may. `leave` must follow a True."""
        count, held = self._count[project] + 1, self._bytes[project] + size
        free, free_bytes = self._requests - self._count.total(), self._size - self._bytes.total()
        if count > free or held > free_bytes:
            return False
        self._count[project], self._bytes[project] = count, held
        return True

    def leave(self, project: str, size: int) -> None:
        """Give a place back."""
        self._count[project] -= 1
        self._bytes[project] -= size
        if not self._count[project]:
            del self._count[project], self._bytes[project]
