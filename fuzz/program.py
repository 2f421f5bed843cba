"""
Makes a program of a target. Only this file needs atheris.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def run(name: str, part: str = "core") -> None:
    """
    Fuzz as long as libFuzzer's arguments on the command line say. It does not return.

    :param name: of a target. It is imported here, since atheris measures only what is imported under it.
    :param part: the folder of ``sodiumtwist`` that it plays with, and that is measured.
    """
    import atheris

    sys.path[0] = str(ROOT)
    # atheris can include only whole top-level packages.
    above = [f"sodiumtwist.{module.name}" for module in pkgutil.iter_modules([str(ROOT / "sodiumtwist")])]
    above.remove(f"sodiumtwist.{part}")
    with atheris.instrument_imports(include=["sodiumtwist"], exclude=["sodiumtwist", *above]):
        target = importlib.import_module(f"fuzz.{name}")
    atheris.Setup(sys.argv, target.one_input)
    atheris.Fuzz()
