"""
What programs write while they run, read as it comes.
"""

from __future__ import annotations

from ..transfer.tree.forked import Forked


class Tail:
    """
    The standard output of a program, line by line.

    :param program: is running.
    """

    def __init__(self, program: Forked) -> None:
        self._path = program.output_path
        self._offset = 0

    def lines(self) -> list[str]:
        """What was written since the last time. A line that is not whole comes the next time."""
        with open(self._path, "rb") as file:
            file.seek(self._offset)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        return whole.decode("utf-8", "replace").splitlines()
