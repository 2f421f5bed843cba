"""
Names that come from the other end.
"""

from __future__ import annotations

import os

from hypothesis import example, given, strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.transfer.tree.names import (
    DEPTH_LIMIT,
    PART_LIMIT,
    BadName,
    is_temporary,
    login_folder,
    random_name,
    show_path,
    split_path,
    temporary_name,
)

from ...texts import UTF8

#: What bad paths are made of.
HOSTILE = st.lists(
    st.sampled_from([b"/", b".", b"..", b"\0", b"a", b"\n", b"\xff", b".a.01234567.part", b"x" * 254, b"d/" * 32]),
    max_size=12,
).map(b"".join)

#: Logins, of which some differ by little, and some are too long for a name.
LOGIN = st.builds(str.__mul__, st.text(alphabet="aA.%-/ä\ud800", max_size=6), st.sampled_from([1, 1, 43, 256]))


class SplitTests(SynchronousTestCase):
    """:func:`split_path`"""

    def test_parts(self) -> None:
        """Bytes are as they are."""
        for path in (b"a", b"a/b c/d", b"\xff\xfe/\n", b"...", b".hidden/..x", b"a\\b:c*", "ä/日本".encode(), b"-rf"):
            self.assertEqual(split_path(path), tuple(path.split(b"/")))

    def test_refused(self) -> None:
        """Each kind of bad path is told apart."""
        for path, why in [
            (b"", "it is empty"),
            (b"/etc/passwd", "it is absolute"),
            (b"/", "it is absolute"),
            (b"a//b", "it has an empty part"),
            (b"a/", "it has an empty part"),
            (b".", "it has '.' or '..' in it"),
            (b"a/../b", "it has '.' or '..' in it"),
            (b"a/./b", "it has '.' or '..' in it"),
            (b"..", "it has '.' or '..' in it"),
            (b"a\0b", "it has a NUL in it"),
            (b"a/" + b"b" * 256, "one of its parts has more than 255 bytes"),
            (b"a/" * 64 + b"b", "it has more than 64 parts"),
            (b"a/.b.0123abcd.part", "names of that form are for unfinished files"),
            (b".b.0123abcd.part/c", "names of that form are for unfinished files"),
        ]:
            self.assertEqual(str(self.assertRaises(BadName, split_path, path)), why, path)

    def test_limits(self) -> None:
        """The longest that are taken."""
        self.assertEqual(len(split_path(b"/".join([b"b" * PART_LIMIT] * DEPTH_LIMIT))), DEPTH_LIMIT)

    @given(st.one_of(st.binary(max_size=30), HOSTILE))
    @example(b"a/..")
    def test_safe(self, path: bytes) -> None:
        """Whatever is not refused stays below where it begins, and says all of the path."""
        try:
            parts = split_path(path)
        except BadName as error:
            self.assertNotIn("\n", str(error))
            return
        self.assertEqual(b"/".join(parts), path)
        self.assertTrue(1 <= len(parts) <= DEPTH_LIMIT)
        for part in parts:
            self.assertTrue(1 <= len(part) <= PART_LIMIT)
            self.assertNotIn(part, (b".", b".."))
            self.assertFalse(set(part) & set(b"/\0"))
            self.assertFalse(is_temporary(part))
        self.assertEqual(os.path.normpath(path), path)


class ShowTests(SynchronousTestCase):
    """:func:`show_path`"""

    def test_shown(self) -> None:
        """As it is where it can be shown, else with backslashes."""
        for path, shown in [
            (b"a/b c", "a/b c"),
            ("ä".encode(), "ä"),
            (b"\xff", r"\xff"),
            (b"a\nb\x1b[31m", r"a\nb\x1b[31m"),
            ("\u202ea".encode(), r"\u202ea"),
        ]:
            self.assertEqual(show_path(path), shown)

    @given(st.binary(max_size=30))
    def test_one_line(self, path: bytes) -> None:
        """Nothing of it moves a cursor."""
        self.assertTrue(show_path(path).isprintable())


class LoginTests(SynchronousTestCase):
    """:func:`login_folder`"""

    def test_usual(self) -> None:
        """Most logins are their folder's name."""
        for login in ("alice", "Bob-2", "alice@example.org", "a+b", "a.b", "_"):
            self.assertEqual(login_folder(login), login)

    def test_odd(self) -> None:
        """The others are encoded."""
        for login, folder in [
            ("", "%"),
            (".", "%2E"),
            ("..", "%2E."),
            ("../x", "%2E.%2Fx"),
            ("a b", "a%20b"),
            ("50%", "50%25"),
            ("ä", "%C3%A4"),
            ("\ud800", "%ED%A0%80"),
        ]:
            self.assertEqual(login_folder(login), folder)

    @given(LOGIN, LOGIN)
    @example("ä" * 100, "ä" * 100 + "b")
    @example("a" * 255, "a" * 256)
    def test_one_each(self, one: str, other: str) -> None:
        """Two logins have two folders, each of one safe part."""
        self.assertEqual(login_folder(one) == login_folder(other), one == other)
        folder = login_folder(one)
        self.assertRegex(folder, r"\A[A-Za-z0-9_@+%-][A-Za-z0-9_@+%.-]*\Z")
        self.assertLessEqual(len(folder), PART_LIMIT)
        self.assertEqual(split_path(folder.encode()), (folder.encode(),))

    def test_no_long_one_is_short(self) -> None:
        """What stands for a long login stands for no short one."""
        folder = login_folder("a" * 300)
        self.assertNotEqual(login_folder(folder), folder)


class TemporaryTests(SynchronousTestCase):
    """Names of files that grow."""

    def test_found_again(self) -> None:
        """The name is the same each time, and another one for each file."""
        self.assertEqual(temporary_name(b"a.txt"), b".a.txt.99042eae.part")
        self.assertNotEqual(temporary_name(b"x" * 255), temporary_name(b"x" * 254))
        self.assertEqual(random_name(b"a", "01234567"), b".a.01234567.part")

    @given(st.one_of(st.binary(min_size=1, max_size=255), st.text(UTF8, min_size=1, max_size=85).map(os.fsencode)))
    def test_form(self, name: bytes) -> None:
        """It is known for one, is short enough for any file system, and cuts no character."""
        temporary = temporary_name(name)
        self.assertTrue(is_temporary(temporary))
        self.assertLessEqual(len(temporary), 143)
        try:
            name.decode()
        except UnicodeDecodeError:
            return
        temporary.decode()

    def test_cut(self) -> None:
        """Some file systems take nothing but UTF-8."""
        self.assertTrue(temporary_name(("a" + "ä" * 60).encode()).startswith(("." + "a" + "ä" * 49 + ".").encode()))
        self.assertTrue(temporary_name(b"\xff" * 120).startswith(b"." + b"\xff" * 100 + b"."))

    def test_others(self) -> None:
        """Other names are not."""
        for name in (b"a.part", b".a.part", b"a.01234567.part", b".a.0123456g.part", b".a.01234567.part.1", b"part"):
            self.assertFalse(is_temporary(name), name)
