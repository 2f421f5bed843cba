"""
The script for zsh. What ``twistd`` takes, zsh asks Twisted itself.
"""

from __future__ import annotations

import re
from itertools import count

from .completion_words import NAMES_COMMAND, Action, Command, Option

_HEAD = f"""\
#compdef sodiumtwist
# Completion of sodiumtwist for zsh: made by
#     sodiumtwist completion zsh

_sodiumtwist_servers() {{
    local -a names
    names=(${{(f)"$({NAMES_COMMAND} 2>/dev/null)"}})
    compadd -a names
}}

_sodiumtwist_places() {{
    local -a names
    names=(${{(f)"$({NAMES_COMMAND} 2>/dev/null)"}})
    compadd -S '' -- ${{^names}}:
}}

_sodiumtwist_files_and_places() {{
    local found=1
    _sodiumtwist_places && found=0
    _files && found=0
    return found
}}

_sodiumtwist_words() {{
    local word found=1
    for word in "$@"; do
        if [[ $word == *= ]]; then compadd -S '' -- $word && found=0; else compadd -- $word && found=0; fi
    done
    return found
}}
"""


def zsh_script(program: Command, commands: list[Command], services: list[Command]) -> str:
    """Make the script."""
    lines = [
        _HEAD,
        "_sodiumtwist() {",
        "    local context state state_descr line curcontext=$curcontext found=1",
        "    typeset -A opt_args",
        "    _arguments -C -s -S \\",
        *(f"        {specification} \\" for option in program.options for specification in _option(option, alone=True)),
        "        '1:command:->command' '*::argument:->argument' && found=0",
        "    case $state in",
        "        command)",
        "            local -a commands",
        "            commands=(",
        *(f"                {_quoted(f'{each.name}:{each.purpose}')}" for each in commands),
        "            )",
        "            _describe command commands && found=0 ;;",
        "        argument)",
        "            case $line[1] in",
    ]
    for command in commands:
        lines += [f"                {command.name})", "                    _arguments -s -S \\"]
        specifications = [each for option in command.options for each in _option(option)]
        lines.append(
            " \\\n".join(f"                        {each}" for each in [*specifications, *_arguments(command)])
        )
        lines[-1] += " && found=0 ;;"
    lines += [
        "            esac ;;",
        "    esac",
        "    return found",
        "}",
        "",
        "# As a file in a folder of $fpath it is called at once; where it is sourced, it is registered.",
        'if [[ $funcstack[1] == _sodiumtwist ]]; then _sodiumtwist "$@"; else compdef _sodiumtwist sodiumtwist; fi',
    ]
    return "".join(f"{line}\n" for line in lines)


def _option(option: Option, alone: bool = False) -> list[str]:
    purpose = re.sub(r"([\[\]\\])", r"\\\1", option.purpose)
    excluded = ["- *"] if alone else [f"--{name}" for name in option.excludes]
    if not option.repeated and not alone:
        excluded += option.spellings
    before = (f"({' '.join(excluded)})" if excluded else "") + ("*" if option.repeated else "")
    found = []
    for name in option.spellings:
        equals, value = "", ""
        if option.takes is not None:
            equals, value = ("=" if name.startswith("--") else "+"), f":{option.name}:{_action(option.takes)}"
        found.append(_quoted(f"{before}{name}{equals}[{purpose}]{value}"))
    return found


def _arguments(command: Command) -> list[str]:
    places = [f"{number}:argument:{_action(each)}" for number, each in zip(count(1), command.arguments, strict=False)]
    if command.arguments:
        places[-1] = f"*{places[-1].lstrip('0123456789')}"
    return [_quoted(place) for place in places]


def _action(action: Action) -> str:
    return {
        "files": "_files",
        "folders": "_files -/",
        "servers": "_sodiumtwist_servers",
        "places": "_sodiumtwist_places",
        "files-and-places": "_sodiumtwist_files_and_places",
        "words": f"_sodiumtwist_words {' '.join(action.words)}",
    }.get(action.kind, "")


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
