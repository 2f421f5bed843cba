"""
What shells complete behind an option, or as an argument, beside what Twisted has for that.

Twisted's own completion, which zsh has for ``twistd``, takes them for what they inherit from.
"""

from __future__ import annotations

from collections.abc import Iterable

from twisted.python import usage


class CompleteWords(usage.CompleteList):
    """
    One of a few words.

    :ivar words: these.
    """

    def __init__(self, words: Iterable[str]) -> None:
        self.words = tuple(words)
        super().__init__(list(self.words))  # type: ignore[no-untyped-call]


class CompleteServers(usage.Completer):
    """The name of a server that is known."""


class CompletePlaces(usage.Completer):
    """What is on a server that is known: ``NAME:``."""


class CompleteFilesAndPlaces(usage.CompleteFiles):
    """A file here, or what is on a server that is known."""
