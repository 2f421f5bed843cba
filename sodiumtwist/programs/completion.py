"""
``sodiumtwist completion``: scripts by which shells complete our command lines. They are made from the classes that
parse these, so they know each option, and no other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from twisted.python import usage

from ..contacts.servers import read_servers
from ..core.errors import LocalProtocolError
from .completers import CompleteFilesAndPlaces, CompletePlaces, CompleteServers, CompleteWords
from .completion_bash import bash_script
from .completion_fish import fish_script
from .completion_words import Action, Command, Option
from .completion_zsh import zsh_script
from .options import ProgramOptions
from .output import print_line, print_text


@dataclass(frozen=True)
class CommandLine:
    """
    What a program is called, and who parses its command line.

    :ivar name: of a subcommand.
    :ivar make: makes the parser.
    :ivar purpose: what it does, in a few words.
    """

    name: str
    make: Callable[[], ProgramOptions]
    purpose: str


SCRIPTS: dict[str, Callable[[Command, list[Command], list[Command]], str]] = {
    "bash": bash_script,
    "zsh": zsh_script,
    "fish": fish_script,
}


def completion(shell: str, program: CommandLine, commands: list[CommandLine], services: list[CommandLine]) -> None:
    """
    Print the script for a shell.

    :param shell: one of :data:`SCRIPTS`.
    :param program: ``sodiumtwist`` itself.
    :param commands: its subcommands.
    :param services: those of ``twistd`` that are ours.
    :raises OutputLost: when it can't be printed.
    """
    script = SCRIPTS[shell](
        _command(program), [_command(each) for each in commands], [_command(each) for each in services]
    )
    print_text(script, end="")


def names_of_servers() -> None:
    """
    Print the names of the servers that are known, a line each: the scripts ask for them. In the middle of a command
    line no error has its place: then there are none.
    """
    try:
        names = list(read_servers())
    except (OSError, LocalProtocolError):
        return
    for name in names:
        print_line(name)


def _command(line: CommandLine) -> Command:
    options = line.make()
    actions = options.completers()
    arguments: list[usage.Completer] = []
    repeated: set[str] = set()
    excluding: list[tuple[str, ...]] = []
    for kind in type(options).__mro__:
        found = vars(kind).get("compData")
        if isinstance(found, usage.Completions):
            arguments = arguments or list(found.extraActions)
            repeated.update(found.multiUse)
            excluding += found.mutuallyExclusive
    if limits := getattr(options, "limits", None):
        actions["limit"] = CompleteWords(f"{name}=" for name in limits)
    letters = {name: letter for letter, name in _letters(options)}
    made = []
    # A class may have an option of its parent's once more.
    for long in dict.fromkeys(options.longOpt):
        name = long.rstrip("=")
        if name in options.hidden:
            continue
        others = {other for group in excluding if name in group for other in group} - {name}
        takes = _action(actions.get(name)) if long.endswith("=") else None
        made.append(
            Option(
                name,
                letters.get(name),
                " ".join((options.docs.get(name) or "").split()).rstrip("."),
                takes,
                name in repeated,
                tuple(sorted(others)),
            )
        )
    return Command(line.name, line.purpose, tuple(made), tuple(_action(each) for each in arguments))


def _letters(options: usage.Options) -> Iterator[tuple[str, str]]:
    for letter in options.shortOpt.replace(":", ""):
        yield letter, options.synonyms[letter]


def _action(completer: usage.Completer | None) -> Action:
    if isinstance(completer, CompleteWords):
        return Action("words", completer.words)
    for kind, name in (
        (CompleteFilesAndPlaces, "files-and-places"),
        (CompletePlaces, "places"),
        (CompleteServers, "servers"),
        (usage.CompleteDirs, "folders"),
        (usage.CompleteFiles, "files"),
    ):
        if isinstance(completer, kind):
            return Action(name)
    return Action("anything")
