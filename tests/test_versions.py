"""
Tests that run over both versions: the decorators.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any
from unittest import TestCase as PlainTestCase, TestResult

from hypothesis import given, strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.reporter import TestResult as TrialResult
from twisted.trial.runner import TestLoader
from twisted.trial.unittest import SynchronousTestCase, TestCase

from sodiumtwist.protocol.factories import VERSION

from . import by_version
from .pair import make_client_factory
from .versions import each_version, only, speaking, spoken

#: What ran, and which version was spoken.
RAN: list[tuple[str, int]] = []

SHOWN = "tests.versions_shown"


def ran(what: str) -> None:
    RAN.append((what, spoken()))


class Shared:
    """Not of both versions by itself."""

    def setUp(self) -> None:
        ran("setUp")


@contextmanager
def shown() -> Iterator[ModuleType]:
    """Have a module with decorated classes that no loader finds."""
    module = sys.modules[SHOWN] = ModuleType(SHOWN)
    try:
        yield module
    finally:
        del sys.modules[SHOWN]


def names_in(suite: Any) -> list[str]:
    return sorted(test.id() for test in by_version.each(suite))


class EachVersionTests(SynchronousTestCase):
    def setUp(self) -> None:
        del RAN[:]

    def run_case(self, case: type[PlainTestCase]) -> list[tuple[str, int]]:
        """Run all tests of a class as trial does."""
        del RAN[:]
        result = TrialResult() if issubclass(case, SynchronousTestCase) else TestResult()
        TestLoader().loadClass(case).run(result)
        self.assertTrue(result.wasSuccessful(), (result.errors, result.failures))
        return list(RAN)

    def test_two_classes(self) -> None:
        """One class has the name and the newest version, the other is found beside it by its name."""
        with shown() as module:

            class FooTests(Shared, SynchronousTestCase):
                """What it tests."""

                __module__ = SHOWN

                def setUp(self) -> None:
                    super().setUp()
                    self.addCleanup(ran, "cleanup")

                def test_it(self) -> None:
                    ran("test")
                    if make_client_factory(None).version != spoken():
                        raise AssertionError("the helpers speak another version")

                def tearDown(self) -> None:
                    ran("tearDown")

            newest: Any = each_version(FooTests)
            beside: Any = module.FooTestsVersion1
            for case, version in ((newest, 2), (beside, 1)):
                steps = ["setUp", "test", "cleanup", "tearDown"]
                self.assertEqual(self.run_case(case), [(step, version) for step in steps])
                self.assertEqual(case.__doc__, "What it tests.")
            self.assertEqual(spoken(), VERSION)
            setattr(module, newest.__name__, newest)
            found = [f"{SHOWN}.FooTests.test_it", f"{SHOWN}.FooTestsVersion1.test_it"]
            self.assertEqual(names_in(TestLoader().loadModule(module)), found)
            self.assertEqual(names_in(TestLoader().loadByName(f"{SHOWN}.FooTestsVersion1.test_it")), found[1:])

    def test_failed(self) -> None:
        """A test that fails leaves nothing behind for the next one."""
        with shown() as module:

            class FooTests(SynchronousTestCase):
                __module__ = SHOWN

                def test_it(self) -> None:
                    raise AssertionError

            each_version(FooTests)
            result = TrialResult()
            TestLoader().loadClass(module.FooTestsVersion1).run(result)
            self.assertEqual(len(result.errors), 1)
        self.assertEqual(spoken(), VERSION)

    def test_pinned(self) -> None:
        """A test of one version is in the class of that one only; it sees what its class inherits."""
        with shown() as module:

            class FooTests(Shared, SynchronousTestCase):
                __module__ = SHOWN

                def test_both(self) -> None:
                    ran("both")

                @only(1)
                def test_old(self) -> None:
                    super().setUp()
                    ran("old")

                @only(2)
                def test_new(self) -> None:
                    ran("new")

            self.assertEqual(
                self.run_case(each_version(FooTests)), [("setUp", 2), ("both", 2), ("setUp", 2), ("new", 2)]
            )
            self.assertEqual(
                self.run_case(module.FooTestsVersion1),
                [("setUp", 1), ("both", 1), ("setUp", 1), ("setUp", 1), ("old", 1)],
            )

    def test_pinned_class(self) -> None:
        """A class of one version stays one class."""
        for version in (1, 2):
            with shown() as module:

                class FooTests(SynchronousTestCase):
                    __module__ = SHOWN

                    def test_it(self) -> None:
                        ran("test")

                self.assertEqual(self.run_case(only(version)(FooTests)), [("test", version)])
                self.assertNotIn("FooTestsVersion1", vars(module))

    def test_unittest(self) -> None:
        """Test cases of the standard library are decorated, too."""
        with shown() as module:

            class FooTests(PlainTestCase):
                __module__ = SHOWN

                def test_it(self) -> None:
                    ran("test")

            self.assertEqual(self.run_case(each_version(FooTests)), [("test", 2)])
            self.assertEqual(self.run_case(module.FooTestsVersion1), [("test", 1)])

    def test_inherited(self) -> None:
        """A base that is decorated is refused: its tests would run over a version that they are not for."""
        with shown():

            class FooTests(SynchronousTestCase):
                __module__ = SHOWN

            class MoreTests(each_version(FooTests)):  # type: ignore[misc]
                __module__ = SHOWN

            with self.assertRaisesRegex(TypeError, "FooTests is decorated already"):
                each_version(MoreTests)


# These are found by every loader: what they hold is true of every test.


@each_version
class WaitingTests(TestCase):
    """Tests that wait for the reactor."""

    def test_behind_a_wait(self) -> Deferred[None]:
        """The version stays until a test is over that returns a Deferred."""
        from twisted.internet import reactor

        version = spoken()
        self.assertEqual(version, self._speaks)  # type: ignore[attr-defined]
        waited: Deferred[None] = Deferred()
        reactor.callLater(0, waited.callback, None)
        return waited.addCallback(lambda _: self.assertEqual(spoken(), version))

    async def test_coroutine(self) -> None:
        from twisted.internet import reactor

        waited: Deferred[None] = Deferred()
        reactor.callLater(0, waited.callback, None)
        await waited
        self.assertEqual(spoken(), self._speaks)  # type: ignore[attr-defined]


@each_version
class ExamplesTests(SynchronousTestCase):
    @given(st.integers())
    def test_given(self, number: int) -> None:
        """Examples are tried over both versions."""
        self.assertEqual(spoken(), self._speaks)  # type: ignore[attr-defined]


class SpeakingTests(SynchronousTestCase):
    def test_nested(self) -> None:
        self.assertEqual(spoken(), VERSION)
        with speaking(1):
            with speaking(2):
                self.assertEqual(spoken(), 2)
            self.assertEqual(spoken(), 1)
            self.assertEqual(make_client_factory(None).version, 1)
        self.assertEqual(spoken(), VERSION)
