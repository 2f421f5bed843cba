"""
Endpoint strings and errors in words for people, each on one line.
"""

from __future__ import annotations

import re
import sys
from typing import Any

# Keywords whose values are secrets or may be. In haste people write password= for passphrase=, or forget the backslash
# before a colon; so similar names count, too, and a value goes on up to the next name. passphraseFile= is only a path.
_SECRETS = re.compile(
    r"\b(auth|key|pass(?!phraseFile=)\w*|pwd?|secret\w*|privateKeyHex)=(?:[^:\\]|\\.|:(?!\w+=))*", re.IGNORECASE
)


# The password in a URL, up to the last "@": who forgets that "/" and "@" are written %2F and %40 in it has a secret all
# the same. And what programs of Redis itself take for one.
_PASSWORD = re.compile(r"(rediss?://(?=[^\s/@:]*@)|://[^\s/@:]*:)\S*@")


def masked(description: str) -> str:
    """
    Make an endpoint string or a URL fit for logs: each value that may be a secret becomes ``…``.
    """
    return _PASSWORD.sub(r"\1…@", _SECRETS.sub(r"\1=…", description))


#: What Twisted says of a string that it does not know, and Python of the call that it makes from the string: patterns
#: for their messages, and what to say instead.
_MEANINGS = {
    r"Unknown endpoint type: (.*)": r"there is no type \1",
    r".*missing \d+ required positional arguments?: (.*)": r"it lacks \1",
    r".* takes .*positional arguments? but \d+ (?:was|were) given": "it has too many parts",
    r".*got multiple values for argument (.*)": r"it has \1 twice",
    r"invalid literal for int\(\) with base 10: (.*)": r"\1 is no number",
    r"invalid literal for int\(\) with base 8: (.*)": r"\1 is no octal number",
    r"\w+\(\): (port must be 0-65535)\.?": r"the \1",
    r"generator raised StopIteration": "it ends with a backslash",
    r"list index out of range": "there is no socket of that index",
    r"Connection was refused by other side(?:: .*)?": (
        "nothing listens there: is the server running, and is that its address?"
    ),
    r"DNS lookup failed: no results for hostname lookup: (.*)": r"there is no host \1, or no answer about it",
    r".*: \d+: (No route to host|Network is unreachable|Host is down|Network is down)": (
        r"\1: the host is gone or its address is wrong, or this machine has no network"
    ),
    r"An error occurred while connecting: \d+: (.*)": r"\1",
    r"User timeout caused connection failure": (
        "there was no answer in time: the host is gone, or a firewall lets nothing through to it"
    ),
    # What OpenSSL says of its files, by the names of its parts.
    r"\[.*'(?:bad password read|unable to get passphrase)'\).*\]": (
        "the private key has a passphrase; give a file of the key without one"
    ),
    r"\[.*'no start line'\).*\]": "the file holds no certificate in PEM, or no private key",
    r"\[\('DECODER routines', '.*', 'unsupported'\)\]": "a file holds no private key or no whole certificate in PEM",
}


#: What people write in place of an address or an endpoint string, by a pattern for that and for what is wrong with it,
#: each with what helps.
_CURES = (
    (re.compile(r"^[^:=]*@"), "a login is given with --user"),
    (re.compile(r"^tcp[46]:.*: there is no type"), "HOST:PORT connects by IPv6 and IPv4"),
    (re.compile(r"^([\w.-]+:)?\d+: there is no type"), "a port is a number from 1 to 65535"),
    (re.compile(r"^[./~][^:]*: there is no type"), "a UNIX socket is unix:PATH"),
    # With colons that have no backslash the values stand in the wrong places.
    (
        re.compile(r"::.*: (?:it lacks|it has (?:.* twice|too many)|there is no type '(?:tcp6)?')"),
        "an IPv6 address stands in brackets, as in [::1]:5555",
    ),
    (re.compile(r":[^:]*:[^:]*:.*: it lacks"), r"a colon within a name or number is written \:"),
)


def unknown_keywords(error: object) -> list[str]:
    """
    Tell which keywords of an endpoint string its parser does not know.

    :param error: what the parser raised.
    :return: the keywords; empty when something else is wrong.
    """
    found = re.search(r"unexpected keyword argument '([^']*)'", str(error))
    if found is not None:
        return [found[1]]
    # The parser of tls: checks its keywords itself, and raises with a list of those that are left.
    arguments: tuple[Any, ...] = getattr(error, "args", ())
    return arguments[1] if len(arguments) == 2 and isinstance(arguments[1], list) else []


def describe_endpoint_error(error: object) -> str:
    """
    Say on one line why an endpoint can't be made or used, in the user's words and not in Python's.

    :param error: what was raised by parsing the endpoint's string, by connecting or by listening. Twisted gives a
        text in place of an exception for some errors.
    """
    if isinstance(error, OSError):
        error = _cause(error)
        if error.strerror:
            return f"{error.filename!r}: {error.strerror}" if error.filename else error.strerror
    if unknown := unknown_keywords(error):
        return f"it takes no {', '.join(f'{name}=' for name in unknown)}"
    text = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    for said, meant in _MEANINGS.items():
        if found := re.fullmatch(said, text):
            return found.expand(meant)
    return text


def describe_bad_endpoint(where: str, description: str, example: str, error: BaseException) -> str:
    """
    Say on one line that an endpoint string is not understood, and why.

    :param where: the option that it was given with.
    :param description: the endpoint string.
    :param example: a string that is right.
    :param error: what parsing the string raised.
    """
    shown, whole = masked(description), description.replace("\\", "")

    def unmasked(quoted: re.Match[str]) -> str:
        return "'…'" if quoted[1] in whole and quoted[1] not in shown else quoted[0]

    # The error may quote the string. What is masked in the string is masked there, too.
    why = re.sub(r"'([^']*)'", unmasked, describe_endpoint_error(error))
    if cure := next((cure for mistake, cure in _CURES if mistake.search(f"{description}: {why}")), None):
        why += f"; {cure}"
    return f"{where}: bad endpoint string {shown!r}: {why}; a right one is for instance {example}"


def _cause(error: OSError) -> OSError:
    # Twisted's error for a folder that can't be read, of plugins for instance, has no text of its own.
    cause = getattr(error, "originalException", error)
    return cause if isinstance(cause, OSError) else error


def describe_os_error(error: OSError) -> str:
    """Say on one line what went wrong, and with which file."""
    error = _cause(error)
    text = error.strerror or str(error)
    if error.filename is None:
        return text
    # An empty name is shown as one: nobody would see that it is there.
    return f"{error.filename or repr(error.filename)}: {text}"


def describe_error(error: Exception) -> str:
    """Say on one line what went wrong, by an ``OSError`` or an error whose text says it."""
    return describe_os_error(error) if isinstance(error, OSError) else str(error)


#: How many characters of a text are shown: more than any line needs that tells what went wrong.
SHOWN_LIMIT = 2000


# The secret of an invitation, behind the key, and most of one that was not copied right. Errors show what was given,
# and an invitation may be given where none is due. Hardly a file's name has /# and a key in it.
_INVITATION_SECRET = re.compile(r"(/#[^\s#.]{32,}\.)[0-9a-fA-F]{16,}")


def printable(text: str) -> str:
    """
    Make a text fit for a log or a terminal, on one line. All that comes from outside passes here before it is shown:
    what peers, proxies, servers of names, certificates, files, their names and the environment say.

    What can't be printed is replaced by ``?``: control characters, newlines, marks that turn the direction of a line
    round, halves of characters. A terminal could take it for a command, and a reader for a line of the log. What is
    very long is cut. The secret of an invitation becomes ``…``.

    :param text: the text.
    """
    if "/#" in text:
        text = _INVITATION_SECRET.sub(r"\1…", text)
    left_out = len(text) - SHOWN_LIMIT
    if left_out > 0:
        text = f"{text[:SHOWN_LIMIT]}… ({left_out} characters more)"
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else "?" for character in text)


def describe_tls_error(error: BaseException | None) -> str | None:
    """
    Say on one line what went wrong with TLS, and what to do.

    :param error: why a connection was lost.
    :return: ``None`` when it is no error of TLS.
    """
    # Not imported here, which would take long for commands without TLS. Where TLS was used, they are imported already;
    # else there is nothing to explain.
    identity, ssl = sys.modules.get("service_identity"), sys.modules.get("OpenSSL.SSL")
    if identity is not None and isinstance(error, identity.VerificationError):
        return f"the server's certificate is not for the name {_name(error)}; connect by a name that it is for"
    if ssl is None or not isinstance(error, ssl.Error):
        return None
    # An error holds a list of library, function and reason for each thing that went wrong.
    reasons = [str(entry[-1]) for entry in error.args[0]] if error.args and isinstance(error.args[0], list) else []
    text = "; ".join(filter(None, reasons))
    if "certificate verify failed" in text:
        return (
            "the server's certificate is not trusted: it is out of its dates, or no authority known here has "
            "signed it (trustRoots=DIRECTORY names more)"
        )
    if "wrong version number" in text or "record layer failure" in text or "packet length too long" in text:
        return "what came is not TLS; is this the right port, and an endpoint with TLS?"
    return f"TLS failed: {text}" if text else "TLS failed: the connection was closed in it"


def _name(error: BaseException) -> str:
    """Find the host name or address for which the certificate is not."""
    for mismatch in getattr(error, "errors", ()):
        wanted = mismatch.mismatched_id
        name = getattr(wanted, "hostname", None) or getattr(wanted, "ip", None)
        if name is not None:
            return repr(name.decode("ascii", "replace") if isinstance(name, bytes) else str(name))
    return "it was asked for by"
