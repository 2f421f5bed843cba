"""
What the two command lines have in common.
"""

from __future__ import annotations

from twisted.python import usage


def check_one_source(what: str, sources: dict[str, str | None]) -> None:
    """
    Check that a secret is given in one way at most.

    :param what: what it is.
    :param sources: what each way gives, ``None`` for nothing; by its name for the user.
    :raises UsageError: when there is more than one; it names them and shows no value.
    """
    given = [name for name, value in sources.items() if value is not None]
    if len(given) > 1:
        raise usage.UsageError(f"the {what} comes from {' and from '.join(given)}; use one")
