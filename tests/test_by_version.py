"""
Which tests run with the oldest releases.
"""

from __future__ import annotations

from twisted.trial.runner import TestLoader
from twisted.trial.unittest import SynchronousTestCase

# Not its function by name: trial would take that for the suite of this module.
from . import by_version


class SuiteTests(SynchronousTestCase):
    """``trial tests.by_version``"""

    def test_all_but_those_listed(self) -> None:
        """
        It has each test of each module, but for those over version 1 beside others, and for the modules that are
        listed; each of these has tests.
        """
        module_of = {
            test.id(): type(test).__module__ for test in by_version.each(TestLoader().loadByName("tests", recurse=True))
        }
        self.assertLessEqual(set(by_version.RUN_ONCE), set(module_of.values()))
        expected = [
            name
            for name, module in module_of.items()
            if module not in by_version.RUN_ONCE and not name.rpartition(".")[0].endswith("Version1")
        ]
        found = [test.id() for test in by_version.each(by_version.testSuite())]
        self.assertEqual(sorted(found), sorted(expected))
        self.assertGreater(len(found), 1500)

    def test_over_both_versions(self) -> None:
        """What runs over version 1 of the protocol under a name of its own runs over version 2 as well."""
        loaded = TestLoader().loadByName("tests", recurse=True)
        cases = {test.id().rpartition(".")[0] for test in by_version.each(loaded)}
        beside = {name for name in cases if name.endswith("Version1")}
        self.assertIn("tests.test_versions.WaitingTestsVersion1", beside)
        self.assertLessEqual({name.removesuffix("Version1") for name in beside}, cases)
