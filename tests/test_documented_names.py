"""
Names of code, tests and files in the documentation: what they name is there.
"""

from __future__ import annotations

import inspect
import os
import re
from typing import Any

from twisted.python.reflect import namedAny
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.interface import InterfaceClass

import sodiumtwist

from .pages import ROOT, pages, read_page, rows
from .test_layering import FOLDERS, PACKAGE


def find(path: str, name: str) -> Any:
    """Return what a page calls ``path: name``, in the package."""
    return namedAny(f"sodiumtwist.{path.removesuffix('.py').replace('/', '.')}.{name}")


class NameTests(SynchronousTestCase):
    """Names of code, written ``file: name``, and of tests, written as trial takes them."""

    def test_code(self) -> None:
        """What pages name is there. CONTRIBUTING.rst has its own test for that."""
        count = 0
        for page in set(pages()) - {"CONTRIBUTING.rst"}:
            for path, name in re.findall(r"``([a-z_/0-9]+\.py): ([\w.]+)(?:\(\w+\))?``", read_page(page)):
                find(path, name)
                count += 1
        self.assertGreater(count, 80)

    def test_tests(self) -> None:
        """So are the tests, each a module, a class or a test."""
        count = 0
        for page in pages():
            text = read_page(page)
            self.assertNotRegex(text, r"test_\w+\.py: \w*Tests?\b", page)
            for name in re.findall(r"\btests\.(?:[a-z0-9]+\.)*test_[\w.]*\w", text):
                found = namedAny(name)
                self.assertTrue(inspect.ismodule(found) or callable(found), name)
                count += 1
        self.assertGreater(count, 60)

    def test_files(self) -> None:
        """So are the files."""
        count = 0
        for page in pages():
            for path in re.findall(r"``((?:\w+/)+(?:\w+\.\w+)?)``", read_page(page)):
                self.assertTrue(os.path.exists(os.path.join(ROOT, path)), f"{page}: {path}")
                count += 1
        self.assertGreater(count, 30)

    def test_references(self) -> None:
        """So is what docstrings refer to by its module, also where no page shows them."""
        count = 0
        for path in PACKAGE.rglob("*.py"):
            for name in re.findall(r":[a-z]+:`~?(sodiumtwist\.[\w.]+)`", path.read_text(encoding="utf-8")):
                owner, _, last = name.rpartition(".")
                if isinstance(interface := namedAny(owner), InterfaceClass):
                    self.assertIn(last, interface)
                else:
                    namedAny(name)
                count += 1
        self.assertGreater(count, 30)

    def test_fields_have_tests(self) -> None:
        """Each row of the map has code and a test."""
        for what, code, test in [row for row in rows("docs/reference/source.rst") if row[0] not in ("Field", "What")]:
            self.assertRegex(code, r"^``[a-z_/0-9]+\.py: [\w.]+``$", what)
            self.assertRegex(test, r"^``tests\.([a-z0-9]+\.)*test_\w+\.\w+\.test_\w+``$", what)

    def test_folders(self) -> None:
        """The drawing has all folders, in their order, and modules that are in them."""
        page = " ".join(read_page("docs/reference/source.rst").split())
        told = page.partition(":alt: The folders of the source. ")[2].partition(". Imports point down")[0]
        drawn = [row.split(": ") for row in told.split("; ")]
        self.assertEqual([folder for folder, _ in reversed(drawn)], [name for name in FOLDERS if name != "lazy_names"])
        for folder, modules in drawn:
            known = {name.removeprefix(f"{folder}.") for name in FOLDERS[folder].split()}
            self.assertLessEqual(set(modules.split(", ")), known)

    def test_public_names(self) -> None:
        """The API's page has each public name, and no others of the package itself."""
        listed: dict[str, list[str]] = {}
        module = ""
        for line in read_page("docs/reference/api.rst").splitlines():
            if found := re.fullmatch(r"\.\. py:(?:current)?module:: (\S+)", line):
                module = found[1]
            elif found := re.match(r"\.\. py:(?:class|function|exception):: (\w+)", line):
                listed.setdefault(module, []).append(found[1])
        self.assertEqual(sorted(listed["sodiumtwist"]), sorted(sodiumtwist.__all__))
