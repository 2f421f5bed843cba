"""
Packages whose names are looked up when they are used, so that importing one loads nothing else.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module

TYPE_CHECKING = False  # as in the packages: to import it takes time
if TYPE_CHECKING:
    from typing import Any


def look_up_later(package: str, where: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """
    Make the two functions that Python asks for names that a package does not have yet (PEP 562).

    :param package: its name.
    :param where: the module of each name, from the package on.
    :return: ``__getattr__`` and ``__dir__``, which the package is to have under these names.
    """

    def look_up(name: str) -> Any:
        if name not in where:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(f"{package}.{where[name]}"), name)
        # From now on Python finds it without us.
        setattr(sys.modules[package], name, value)
        return value

    def list_names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *where})

    return look_up, list_names
