"""
The script for bash, 3.2 and later. It needs no other scripts.
"""

from __future__ import annotations

from .completion_words import NAMES_COMMAND, Action, Command

_HEAD = f"""\
# Completion of sodiumtwist, and of twistd sodium and sodium-tunnel, for bash: made by
#     sodiumtwist completion bash

_sodiumtwist_add() {{
    local line
    while IFS= read -r line; do COMPREPLY+=("$line"); done < <(compgen "$@" -- "$word")
}}

_sodiumtwist_servers() {{ {NAMES_COMMAND} 2>/dev/null; }}

_sodiumtwist_names() {{
    # What is a name of files gets a backslash before a colon. NAME: is none.
    ((${{#COMPREPLY[@]}})) || compopt -o filenames 2>/dev/null
}}

_sodiumtwist_offer() {{
    local names
    case $1 in
        files) _sodiumtwist_names; _sodiumtwist_add -f ;;
        folders) _sodiumtwist_names; _sodiumtwist_add -d ;;
        servers) _sodiumtwist_add -W "$(_sodiumtwist_servers)" ;;
        places) names=$(_sodiumtwist_servers); _sodiumtwist_add -W "${{names//$'\\n'/: }}${{names:+:}}" ;;
        files-and-places) _sodiumtwist_offer places; _sodiumtwist_offer files ;;
        words) _sodiumtwist_add -W "$2" ;;
    esac
    # More is to be typed there.
    if ((${{#COMPREPLY[@]}} == 1)) && [[ ${{COMPREPLY[0]}} == *[:=] ]]; then compopt -o nospace 2>/dev/null; fi
}}

_sodiumtwist_value() {{
    # bash takes --name=value for three words.
    word=$1 previous=$2
    if [[ $word == = ]]; then word=; elif [[ $previous == = ]]; then previous=${{COMP_WORDS[COMP_CWORD-2]}}; fi
}}
"""

_TAIL = """\

_sodiumtwist() {
    local word previous
    COMPREPLY=()
    _sodiumtwist_value "$2" "$3"
    # bash takes NAME:PATH for three words. What is there, nobody knows here.
    if [[ $word == : || $previous == : ]]; then return; fi
    if ((COMP_CWORD == 1)); then
        _sodiumtwist_offer words '%s'
    else
        case ${COMP_WORDS[1]} in
            %s) _sodiumtwist_command_"${COMP_WORDS[1]}" ;;
        esac
    fi
}
complete -F _sodiumtwist sodiumtwist

_sodiumtwist_twistd() {
    local word previous place
    COMPREPLY=()
    _sodiumtwist_value "$2" "$3"
    for ((place = 1; place < COMP_CWORD; place++)); do
        case ${COMP_WORDS[place]} in
            sodium) _sodiumtwist_service_sodium; return ;;
            sodium-tunnel) _sodiumtwist_service_sodium_tunnel; return ;;
        esac
    done
    _sodiumtwist_offer words 'sodium sodium-tunnel'
}
# Who has another one for it keeps that.
complete -p twistd >/dev/null 2>&1 || complete -o default -F _sodiumtwist_twistd twistd
"""


def bash_script(program: Command, commands: list[Command], services: list[Command]) -> str:
    """Make the script."""
    functions = [_function(f"_sodiumtwist_command_{each.name}", each) for each in commands]
    functions += [_function(f"_sodiumtwist_service_{each.name}", each) for each in services]
    words = [each.name for each in commands] + [name for option in program.options for name in option.spellings]
    return _HEAD + "".join(functions) + _TAIL % (" ".join(words), "|".join(each.name for each in commands))


def _function(name: str, command: Command) -> str:
    lines = [f"\n{name.replace('-', '_')}() {{", "    case $previous in"]
    for option in command.options:
        if option.takes is not None:
            lines.append(f"        {'|'.join(option.spellings)}) {_offer(option.takes)}return ;;")
    spellings = " ".join(name for option in command.options for name in option.spellings)
    lines += ["    esac", f"    if [[ $word == -* ]]; then _sodiumtwist_offer words '{spellings}'; return; fi"]
    lines += [f"    {_offer(each).strip().rstrip(';')}" for each in dict.fromkeys(command.arguments) if _offer(each)]
    return "\n".join([*lines, "}", ""])


def _offer(action: Action) -> str:
    if action.kind == "anything":
        return ""
    words = f" '{' '.join(action.words)}'" if action.words else ""
    return f"_sodiumtwist_offer {action.kind}{words}; "
