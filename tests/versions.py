"""
Tests that run over both versions of the protocol.

The helpers that make a client let it speak ``spoken()``; servers take both versions. Outside of the classes that are
decorated here, that is the version which the package speaks by default.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar
from unittest import TestCase

from sodiumtwist.core.version import VERSIONS
from sodiumtwist.protocol.factories import VERSION

#: The version whose tests have the name of the class.
NEWEST = max(VERSIONS)

Case = TypeVar("Case", bound=TestCase)
Pinned = TypeVar("Pinned", bound=Callable[..., object])

_spoken = VERSION


def spoken() -> int:
    """The version that clients speak in the test that runs now."""
    return _spoken


@contextmanager
def speaking(version: int) -> Iterator[None]:
    """Let clients that are made meanwhile speak a version."""
    global _spoken
    before, _spoken = _spoken, version
    try:
        yield
    finally:
        _spoken = before


def each_version(case: type[Case]) -> type[Case]:
    """
    Run the tests of a class over each version: under the name of the class over the newest one, and over version 1 in
    a class beside it, with ``Version1`` behind the name. Tests marked by :func:`only` are in one of the two.

    :param case: the class. The two inherit from it, so ``super()`` in it does what it always does.
    :raises TypeError: when a base of it is decorated already: it would have all tests of both versions.
    """
    for base in case.__mro__:
        if "_speaks" in vars(base):
            raise TypeError(f"{base.__name__} is decorated already; put what the two share in a class without tests")
    pinned = {name: test for name, test in vars(case).items() if hasattr(test, "_only")}
    for name in pinned:
        delattr(case, name)
    for version in VERSIONS:
        name = case.__name__ + ("" if version == NEWEST else f"Version{version}")
        made = _over(version, case, name, {name: test for name, test in pinned.items() if test._only == version})
        if version == NEWEST:
            newest = made
        else:
            # Where a loader looks for it, which may be told its name.
            setattr(sys.modules[case.__module__], name, made)
    return newest


def only(version: int) -> Callable[[Pinned], Pinned]:
    """
    Run the tests of a class over one version; or one test of a class that :func:`each_version` decorates.

    :param version: that one.
    """

    def pin(pinned: Any) -> Any:
        if isinstance(pinned, type):
            return _over(version, pinned, pinned.__name__, {})
        pinned._only = version
        return pinned

    return pin


def _over(version: int, case: type[Any], name: str, tests: dict[str, Any]) -> type[Any]:
    def run(self: Any, result: Any = None) -> Any:
        with speaking(version):
            return super(made, self).run(result)

    own = {"__module__": case.__module__, "__qualname__": name, "__doc__": case.__doc__, "_speaks": version}
    made: type[Any] = type(name, (case,), {**own, "run": run, **tests})
    return made
