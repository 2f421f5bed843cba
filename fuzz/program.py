"""
Makes a program of a target; the only file here that needs atheris.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def run(name: str) -> None:
    """
    Fuzz until libFuzzer's arguments, those of the command line, say that it is enough; does not return.

    :param name: a target, which is imported here: only what is imported under atheris is measured.
    """
    import atheris

    sys.path[0] = str(ROOT)
    # It includes by top-level package alone.
    above = [f"sodiumtwist.{module.name}" for module in pkgutil.iter_modules([str(ROOT / "sodiumtwist")])]
    above.remove("sodiumtwist.core")
    with atheris.instrument_imports(include=["sodiumtwist"], exclude=["sodiumtwist", *above]):
        target = importlib.import_module(f"fuzz.{name}")
    atheris.Setup(sys.argv, target.one_input)
    atheris.Fuzz()
