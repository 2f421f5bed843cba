"""
Servers in arguments: ``home:photos``, by the rule that scp has.
"""

from __future__ import annotations

import contextlib
import io
import os

from twisted.python.usage import UsageError

from sodiumtwist.contacts.servers import servers_path
from sodiumtwist.core.errors import LocalProtocolError
from sodiumtwist.programs import client_options
from sodiumtwist.programs.server_arguments import Place, split_place
from sodiumtwist.programs.settings import GetSettings, ListSettings, SendSettings

from ..known_servers import write_servers
from ..processes import PUBLIC
from .test_server_options import URL, OptionsTestCase

OPTIONS = ["--to", "127.0.0.1:1", "--server-key", PUBLIC]


class PlaceTests(OptionsTestCase):
    """What is a server's name, and what is not."""

    def test_names(self) -> None:
        """It stands before a colon, and no slash before that."""
        for argument, place in (
            ("home:", Place("home", "")),
            ("home:a/b", Place("home", "a/b")),
            ("home:a:b", Place("home", "a:b")),
            ("work.2:x", Place("work.2", "x")),
            (URL, Place(URL, "")),
            (URL.upper()[:6] + URL[6:], Place(URL.upper()[:6] + URL[6:], "")),
            ("home", None),
            ("./home:x", None),
            ("a/home:x", None),
            (":x", None),
            ("tcp:h:1", None),
            ("-x:y", None),
            ("a b:c", None),
        ):
            self.assertEqual(split_place(argument), place, argument)


class ArgumentsTestCase(OptionsTestCase):
    """Knows two servers."""

    def setUp(self) -> None:
        super().setUp()
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.directory)
        write_servers(**self.home_and_work)

    def send(self, *words: str) -> SendSettings:
        options = client_options.SendOptions()
        options.parseOptions(["--quiet", *words])
        return options.settings

    def get(self, *words: str) -> GetSettings:
        options = client_options.GetOptions()
        options.parseOptions(["--quiet", *words])
        return options.settings

    def list(self, *words: str) -> ListSettings:
        options = client_options.ListOptions()
        with contextlib.redirect_stderr(io.StringIO()):
            options.parseOptions([*words])
        return options.settings


class SendTests(ArgumentsTestCase):
    """``send PATH… home:``"""

    def test_server(self) -> None:
        """The last argument, with or without a name for what goes there."""
        for words, paths, name in (
            (["in", "home:"], ("in",), None),
            (["in", "a/b", "home:"], ("in", "a/b"), None),
            (["in", "home:there"], ("in",), "there"),
            (["in", "home:./there/"], ("in",), "there"),
            (["in", "home:."], ("in",), None),
            (["in", "home:/"], ("in",), None),
            (["-", "home:there"], ("-",), "there"),
            (["in", "home:", "--name", "there"], ("in",), "there"),
            (["in", URL, "-P", "p"], ("in",), None),
        ):
            settings = self.send(*words)
            self.assertEqual((settings.paths, settings.name), (paths, name), words)
            self.assertEqual(settings.known_as, None if URL in words else "home")

    def test_local_files(self) -> None:
        """A colon behind a slash is a file's; so is one whose name is no server's, when the file is here."""
        self.write("a:b", "")
        write_servers(**self.home)
        for words in (["./home:x"], ["a:b"], ["in", "a:b"], ["a/home:"]):
            self.assertEqual(self.send(*words).paths, tuple(words))

    def test_server_goes_before_a_file(self) -> None:
        """As scp has it; with options, the file that is here is meant, as it was before the server had a name."""
        self.write("home:x", "")
        self.assertEqual(self.send("in", "home:x").name, "x")
        self.assertEqual(self.send("home:x", "in", "home:").paths, ("home:x", "in"))
        self.assertEqual(self.send(*OPTIONS, "in", "home:x").paths, ("in", "home:x"))

    def test_with_options(self) -> None:
        """What names no server and is missing is told when it is looked at, as ever."""
        self.assertEqual(self.send(*OPTIONS, "a:b").paths, ("a:b",))
        error = self.assertRaises(UsageError, self.send, *OPTIONS, "in", "home:")
        self.assertIn("both say which server", str(error))
        self.assertEqual(self.send("--server-key", PUBLIC, "in", "home:").known_as, "home")

    def test_mistakes(self) -> None:
        self.write("f", "")
        for words, said in (
            (["home:"], "PATH is missing: what is to be sent to home:"),
            ([URL], "PATH is missing: what is to be sent to the URL"),
            (["home:", "in"], "home: stands before 'in'; where to send goes last"),
            (["work:", "in", "home:"], "work: stands before 'home:'"),
            (
                ["in", "hoem:"],
                "no server is known by the name 'hoem', but home, work; and no file here is called 'hoem:'",
            ),
            (["in", "home"], "no file here is called home, but a server is; to send there: home:"),
            (["in"], "home, work"),
            (["in", "home:x", "--name", "y"], "--name and home:x both say a name; give one"),
            (["in", "b", "home:x"], "home:x would be the name of one PATH there; for several write home:"),
            (["in", "home:a/b"], "what stands behind home: is the name of a file, without /, not 'a/b'"),
            (["in", "home:.."], "without /, not '..'"),
            (
                ["./f", "home:x/"],
                "home:x/ is the name of a folder, and ./f is none; what stands behind home: is what it",
            ),
            (["in", "work:x"], "--name needs version 2"),
        ):
            self.assertIn(said, str(self.assertRaises(UsageError, self.send, *words)), words)

    def test_invitation(self) -> None:
        """It is refused here, too, without its secret."""
        for words in (["in", f"{URL}.{'ab' * 16}"], [f"{URL}.{'ab' * 16}", "in"]):
            error = self.assertRaises((LocalProtocolError, UsageError), self.send, *words)
            self.assertNotIn("abab", str(error))


class GetTests(ArgumentsTestCase):
    """``get home:REMOTE… [INTO]``"""

    def test_server(self) -> None:
        """With each REMOTE; what is last without one is the folder here."""
        for words, remotes, into in (
            (["home:photos"], (b"photos",), "."),
            (["home:"], (b"",), "."),
            (["home:photos", "pictures"], (b"photos",), "pictures"),
            (["home:a", "home:b"], (b"a", b"b"), "."),
            (["home:a", "home:b/c", "."], (b"a", b"b/c"), "."),
            (["home:", "into"], (b"",), "into"),
            (["home:a:b", "x:y"], (b"a:b",), "x:y"),
            (["-P", "p", URL, "photos"], (b"photos",), "."),
            (["-P", "p", URL, "a", "b", "into"], (b"a", b"b"), "into"),
        ):
            settings = self.get(*words)
            self.assertEqual((settings.remotes, settings.into), (remotes, into), words)
            self.assertEqual(settings.known_as, None if URL in words else "home")

    def test_options(self) -> None:
        """With them a colon is nothing special, unless a server has that name."""
        settings = self.get(*OPTIONS, "a:b", "into")
        self.assertEqual((settings.remotes, settings.into), ((b"a:b",), "into"))
        error = self.assertRaises(UsageError, self.get, *OPTIONS, "home:x", "into")
        self.assertIn("options and home: both say which server; a file there of that name is ./home:x", str(error))
        self.assertEqual(self.get(*OPTIONS, "./home:x").remotes, (b"home:x",))

    def test_mistakes(self) -> None:
        for words, said in (
            (
                ["hoem:x"],
                "no server is known by the name 'hoem', but home, work; a file there of that name is ./hoem:x",
            ),
            (["home:a", "b", "c"], "'b' says not on which server; did you mean home:b?"),
            (["home:a", "work:b"], "home: and work: are two servers; ask one at a time"),
            (["home:a", URL], "home: and the URL are two servers"),
            (["home"], "home is a server: home: is all that it has, and ./home a file there of that name"),
            (["photos", "home:"], "what to get stands behind its server: home:photos"),
            (["-P", "p", URL], "REMOTE is missing"),
            (["work:x"], "get needs version 2"),
            (["photos"], "home, work"),
        ):
            self.assertIn(said, str(self.assertRaises(UsageError, self.get, *words)), words)


class BrokenListTests(ArgumentsTestCase):
    """Where the list of servers has a mistake."""

    def test_with_options(self) -> None:
        """It is in nobody's way who says by options which server it is; a warning tells of it."""
        with open(servers_path(), "w") as file:
            file.write("[[")
        self.write("f", "")
        with contextlib.redirect_stderr(io.StringIO()) as said:
            self.assertEqual(self.get(*OPTIONS, "photos:2024", "here").remotes, (b"photos:2024",))
            self.assertEqual(self.list(*OPTIONS, "photos:2024").remote, b"photos:2024")
            self.assertEqual(self.send(*OPTIONS, "gone:1", "f").paths, ("gone:1", "f"))
            self.assertEqual(self.send(*OPTIONS, "f", "gone:1").paths, ("f", "gone:1"))
        self.assertIn("warning: ", said.getvalue())
        for run, words in ((self.get, ["photos:2024"]), (self.send, ["f", "home:"]), (self.list, ["home:"])):
            self.assertRaises(LocalProtocolError, run, *words)


class ListTests(ArgumentsTestCase):
    """``list [home:[REMOTE]]``"""

    def test_server(self) -> None:
        for words, remote in (
            (["home:"], b""),
            (["home:photos"], b"photos"),
            (["-P", "p", URL], b""),
            (["-P", "p", URL, "photos"], b"photos"),
        ):
            settings = self.list(*words)
            self.assertEqual((settings.remote, settings.known_as), (remote, None if URL in words else "home"), words)

    def test_default(self) -> None:
        """Of the only server, what has no server before it."""
        write_servers(**self.home)
        for words, remote in (([], b""), (["photos"], b"photos"), (["./home"], b"home")):
            settings = self.list(*words)
            self.assertEqual((settings.remote, settings.known_as), (remote, "home"))

    def test_mistakes(self) -> None:
        for words, said in (
            (["home"], "home is a server: home: is all that it has, and ./home a file there of that name"),
            (["home:a", "home:b"], "unexpected argument"),
            (["hoem:"], "no server is known by the name 'hoem'"),
            (["work:"], "list needs version 2"),
        ):
            self.assertIn(said, str(self.assertRaises(UsageError, self.list, *words)), words)
