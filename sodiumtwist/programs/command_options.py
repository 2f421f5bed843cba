"""
What the command lines of all subcommands of ``sodiumtwist`` have in common.
"""

from __future__ import annotations

from twisted.python import usage

from .options import ProgramOptions


def take_arguments(arguments: tuple[str, ...], count: int, names: str = "FILE") -> tuple[str, ...]:
    """
    Check how many arguments there are.

    :param count: how many there should be.
    :param names: what the error calls them.
    :return: the arguments.
    :raises UsageError: when there are too few or too many.
    """
    if len(arguments) < count:
        missing = names.split()[len(arguments) :]
        raise usage.UsageError(f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing")
    for name, argument in zip(names.split(), arguments, strict=False):
        if name == "FILE" and not argument:
            raise usage.UsageError("FILE is empty")
    if len(arguments) > count:
        raise usage.UsageError(f"unexpected argument {arguments[count]!r}")
    return arguments


def take_optional(arguments: tuple[str, ...], name: str = "FILE") -> str | None:
    """
    Take the one argument that there may be.

    :param name: what the error calls it.
    :return: ``None`` when there is none.
    :raises UsageError: when there are more.
    """
    return take_arguments(arguments, 1, name)[0] if arguments else None


class CommandOptions(ProgramOptions):
    """
    The command line of one subcommand.

    :cvar synopsis: what the usage line says behind ``sodiumtwist``.
    """

    synopsis: str

    # They have their place in the help of sodiumtwist itself.
    hidden: tuple[str, ...] = ("version",)

    def getSynopsis(self) -> str:
        """Return the first line of the help."""
        return f"Usage: sodiumtwist {self.synopsis}"

    def execute(self) -> None:
        """
        Run the command.

        :raises SystemExit: with the exit status. A command that needs no reactor returns instead when all went well.
        """
        raise NotImplementedError
