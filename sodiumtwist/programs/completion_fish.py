"""
The script for fish.
"""

from __future__ import annotations

from .completion_words import NAMES_COMMAND, Action, Command

_HEAD = f"""\
# Completion of sodiumtwist, and of twistd sodium and sodium-tunnel, for fish: made by
#     sodiumtwist completion fish

function __sodiumtwist_is
    set -l words (commandline -opc)
    test (count $words) -gt 1; and test $words[2] = $argv[1]
end

function __sodiumtwist_begins
    test (count (commandline -opc)) -eq 1
end

function __sodiumtwist_twistd_is
    for word in (commandline -opc)
        if contains -- $word sodium sodium-tunnel
            test $word = $argv[1]
            return
        end
    end
    test $argv[1] = none
end

function __sodiumtwist_servers
    {NAMES_COMMAND} 2>/dev/null
end

function __sodiumtwist_places
    for name in (__sodiumtwist_servers)
        echo $name:
    end
end

complete -c sodiumtwist -f
"""


def fish_script(program: Command, commands: list[Command], services: list[Command]) -> str:
    """Make the script."""
    lines = _lines("sodiumtwist", "__sodiumtwist_begins", program)
    for command in commands:
        name = f"complete -c sodiumtwist -n __sodiumtwist_begins -a {command.name}"
        lines += [f"{name} -d {_quoted(command.purpose)}"]
        lines += _lines("sodiumtwist", f"'__sodiumtwist_is {command.name}'", command)
    for service in services:
        name = f"complete -c twistd -n '__sodiumtwist_twistd_is none' -a {service.name}"
        lines += [f"{name} -d {_quoted(service.purpose)}"]
        lines += _lines("twistd", f"'__sodiumtwist_twistd_is {service.name}'", service)
    return _HEAD + "".join(f"{line}\n" for line in lines)


def _lines(program: str, condition: str, command: Command) -> list[str]:
    lines = []
    for option in command.options:
        names = f"{f' -s {option.letter}' if option.letter else ''} -l {option.name}"
        value = "" if option.takes is None else f" -x{_offer(option.takes)}"
        lines.append(f"complete -c {program} -n {condition}{names}{value} -d {_quoted(option.purpose)}")
    for argument in dict.fromkeys(command.arguments):
        if offer := _offer(argument):
            forced = " -F" if argument.kind in ("files", "files-and-places") else ""
            lines.append(f"complete -c {program} -n {condition}{forced}{offer}")
    return lines


def _offer(action: Action) -> str:
    return {
        "files": " -a '(__fish_complete_path (commandline -ct))'",
        "folders": " -a '(__fish_complete_directories (commandline -ct))'",
        "servers": " -a '(__sodiumtwist_servers)'",
        "places": " -a '(__sodiumtwist_places)'",
        "files-and-places": " -a '(__sodiumtwist_places)'",
        "words": f" -a {_quoted(' '.join(action.words))}",
    }.get(action.kind, "")


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
