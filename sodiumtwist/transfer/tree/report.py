"""
What people are told of files on their way.
"""

from __future__ import annotations

from typing import NamedTuple

#: What became of a file or folder.
STORED, THERE, REFUSED, FAILED = "stored", "there", "refused", "failed"

#: What would become of one, where nothing is sent.
WOULD_SEND, WOULD_RESUME = "would send", "would resume"


class FileResult(NamedTuple):
    """
    What became of one file, or of a folder that was refused.

    :ivar path: under which it was announced.
    :ivar kind: :data:`~sodiumtwist.transfer.tree.messages.FILE`, ``FOLDER`` or ``STREAM``.
    :ivar outcome: ``stored``, ``there`` before, ``refused`` before anything of it was sent, or ``failed``; where
        nothing is sent ``would send`` or ``would resume``.
    :ivar name: the path under which it is stored; empty when it is not.
    :ivar size: in bytes.
    :ivar digest: BLAKE2b of all of it, in hexadecimal; empty where it is not known.
    :ivar code: why not, one of the protocol's; else 0.
    :ivar text: why not, or what else is to be told. The other end may have written it: show it with care.
    """

    path: bytes
    kind: int
    outcome: str
    name: bytes = b""
    size: int = 0
    digest: str = ""
    code: int = 0
    text: str = ""


class Report:
    """
    Is told how files get on, and does nothing with it. All is called in the reactor's thread.
    """

    def found(self, files: int, size: int) -> None:
        """
        More is announced.

        :param files: how many files more.
        :param size: how many bytes more, as far as that is known.
        """

    def begins(self, path: bytes, size: int, offset: int) -> None:
        """
        A file begins. Of small ones that go together this tells of the first alone.

        :param size: how many bytes it has.
        :param offset: how many of them are there already, and do not come.
        """

    def written(self, size: int) -> None:
        """
        The receiver has written something.

        :param size: how many bytes more.
        """

    def settled(self, result: FileResult) -> None:
        """It is known what became of a file."""

    def left_out(self, path: bytes, why: str) -> None:
        """
        Something is not sent: a link, a device, a socket.

        :param path: as it would have been announced.
        :param why: on one line, for a person.
        """

    def trouble(self, path: bytes, why: str) -> None:
        """
        Something can't be found or read, so not all that was asked for is sent.

        :param path: as it would have been announced.
        :param why: on one line, for a person.
        """
        self.left_out(path, why)
