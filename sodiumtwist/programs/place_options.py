"""
What the command line of ``twistd sodium`` says about files: where they go, how much of them, and which are offered.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from typing import Any

from twisted.python import usage

from ..core.errors import LocalProtocolError
from ..transfer.tree.on_stored import ON_STORED_SECONDS, OnStored, read_command
from ..transfer.tree.place import EXISTING
from .completers import CompleteWords
from .leftovers import PARTIAL_AGE
from .service_options import LimitNames
from .service_user import ServiceUser, acting_as
from .settings import ServerSettings
from .sizes import parse_size

PLACE_PARAMETERS = [
    ["file", "f", None, "write uploads to this file, FIFO or device, or -"],
    ["directory", "d", None, "keep files here, in a folder for each login"],
    ["existing", None, None, "rename, replace, refuse, if a name is taken there"],
    ["quota", None, None, "what files of one login may take there, as 10G"],
    ["share", None, None, "let clients get and list what is in here"],
    ["forward", None, None, "hand each client's stream to HOST:PORT"],
    ["on-stored", None, None, "command to run for each stored file"],
    ["max-upload", None, "1T", "largest upload, as 500M or 10G"],
    ["min-free", None, None, "what uploads leave free [default: 1G, at most 5%]"],
]

PLACE_FLAGS = [
    ["discard", None, "keep no upload; clients are told"],
    ["no-sync", None, "confirm uploads before the disk has them"],
    ["share-per-login", None, "to each login only its folder in --share"],
]

#: What shells complete.
PLACE_COMPLETIONS = {
    "file": usage.CompleteFiles(),
    "directory": usage.CompleteDirs(),
    "share": usage.CompleteDirs(),
    "existing": CompleteWords(EXISTING),
}

#: What ``--limit`` may name.
PLACE_LIMITS: LimitNames = {
    "partial-age": (ServerSettings, "partial_age"),
    "on-stored-seconds": (OnStored, "seconds"),
}

#: Options that say something about others: without one of those they would do nothing, and nobody would notice.
PLACE_NEEDS = {
    "existing": ("directory",),
    "quota": ("directory",),
    "share-per-login": ("share",),
    "on-stored": ("directory", "file"),
}


def check_places(options: usage.Options) -> None:
    """
    Check that the options about files go together.

    :raises UsageError: when they do not, or say nothing.
    """
    places = [f"--{name}" for name in ("file", "directory", "forward", "discard") if _given(options, name)]
    if len(places) > 1:
        raise usage.UsageError(f"{' and '.join(places)} exclude each other; give one")
    if options["share"] is None:
        # Nobody throws uploads away by leaving something out.
        if not places:
            raise usage.UsageError(
                "nothing says where uploads go; give --directory, --file, --forward, or --discard to keep none, or "
                "--share alone to offer files and take none"
            )
    elif options["forward"] is not None:
        raise usage.UsageError("--share and --forward exclude each other; give one")
    for name, others in PLACE_NEEDS.items():
        if _given(options, name) and not any(_given(options, other) for other in others):
            raise usage.UsageError(f"--{name} goes with {' or '.join(f'--{other}' for other in others)}")
    if _given(options, "on-stored") and options["file"] == "-":
        raise usage.UsageError("--on-stored is for files, and standard output is none")


def _given(options: usage.Options, name: str) -> bool:
    # Not given are None and, of flags, 0. What is empty was given.
    return options[name] not in (None, 0)


def read_places(
    options: usage.Options,
    given_limits: Callable[[type], dict[str, Any]],
    versions: Collection[int],
    user: ServiceUser | None,
) -> dict[str, Any]:
    """
    Read the options about files.

    :param options: parsed, and checked by :func:`check_places`.
    :param given_limits: tells what ``--limit`` has given for a class.
    :param versions: of the protocol, which clients may speak.
    :param user: as whom the service runs.
    :return: what they say, by names of :class:`~sodiumtwist.programs.settings.ServerSettings`.
    :raises UsageError: when one is wrong.
    """
    if options["share"] is not None and 2 not in versions:
        raise usage.UsageError("--share is for version 2, which --protocol 1 excludes")
    existing = EXISTING[0] if options["existing"] is None else options["existing"]
    if existing not in EXISTING:
        raise usage.UsageError(f"--existing takes {', '.join(EXISTING[:-1])} or {EXISTING[-1]}, not {existing!r}")
    on_stored = None
    if options["on-stored"] is not None:
        try:
            with acting_as(user):
                on_stored = read_command(options["on-stored"])
        except LocalProtocolError as error:
            whom = "" if user is None else f", as user {user.name}"
            raise usage.UsageError(f"--on-stored{whom}: {error}") from None
    return {
        "file": options["file"],
        "directory": options["directory"],
        "existing": existing,
        "quota": None if options["quota"] is None else _size(options, "quota", 1),
        "discard": bool(options["discard"]),
        "sync": not options["no-sync"],
        "max_upload": _size(options, "max-upload", 1),
        "min_free": None if options["min-free"] is None else _size(options, "min-free", 0),
        "on_stored": on_stored,
        "on_stored_seconds": _on_stored_seconds(given_limits),
        "share": options["share"],
        "share_per_login": bool(options["share-per-login"]),
        "partial_age": _partial_age(given_limits),
        "forward": options["forward"],
    }


def _on_stored_seconds(given_limits: Callable[[type], dict[str, Any]]) -> float:
    seconds: float = given_limits(OnStored).get("seconds", ON_STORED_SECONDS)
    # Not "seconds <= 0", which NaN is not.
    if not 0 < seconds < math.inf:
        raise usage.UsageError(f"--limit on-stored-seconds= takes a number of seconds over 0, not {seconds:g}")
    return seconds


def _partial_age(given_limits: Callable[[type], dict[str, Any]]) -> float:
    age: float = given_limits(ServerSettings).get("partial_age", PARTIAL_AGE)
    if not 0 <= age < math.inf:
        raise usage.UsageError(f"--limit partial-age= takes a number of seconds from 0, not {age:g}")
    return age


def _size(options: usage.Options, name: str, least: int) -> int:
    try:
        size = parse_size(options[name])
    except ValueError:
        size = -1
    if size < least:
        raise usage.UsageError(f"--{name} takes a size from {least}, such as 500M or 10G, not {options[name]!r}")
    return size
