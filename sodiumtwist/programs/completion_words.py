"""
What shells are to know of a command line, whichever shell it is.
"""

from __future__ import annotations

from dataclasses import dataclass

#: What prints the names of the servers that are known.
NAMES_COMMAND = "sodiumtwist completion servers"


@dataclass(frozen=True)
class Action:
    """
    What may stand in a place.

    :ivar kind: ``files``, ``folders``, ``servers``, ``places``, ``files-and-places``, ``words``, or ``anything``, of
        which nothing can be offered.
    :ivar words: those of ``words``.
    """

    kind: str
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Option:
    """
    One option.

    :ivar name: the long one, without its dashes.
    :ivar letter: the short one; ``None`` for none.
    :ivar purpose: what it is for.
    :ivar takes: what is its value; ``None`` when it takes none.
    :ivar repeated: whether it may be given again.
    :ivar excludes: the names of options that do not go with it.
    """

    name: str
    letter: str | None
    purpose: str
    takes: Action | None
    repeated: bool
    excludes: tuple[str, ...]

    @property
    def spellings(self) -> tuple[str, ...]:
        """With their dashes: the short one, if there is one, and the long one."""
        return (f"--{self.name}",) if self.letter is None else (f"-{self.letter}", f"--{self.name}")


@dataclass(frozen=True)
class Command:
    """
    One subcommand.

    :ivar name: what it is called.
    :ivar purpose: what it does.
    :ivar options: its options.
    :ivar arguments: what its arguments are; further ones are like the last.
    """

    name: str
    purpose: str
    options: tuple[Option, ...]
    arguments: tuple[Action, ...]
