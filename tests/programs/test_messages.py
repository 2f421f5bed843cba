"""
The texts of messages over which new users stumbled: each says what is wrong, and what to do.

The others stand where what they are about is tested:

- a key that is not listed, or for another login: ``test_client_processes`` and ``test_losses``
- devices and the other key in place of a key, and pasted lines: ``test_mixed_keys`` and
  ``tests.contacts.test_keyfiles``
- ``tcp:[::1]:5555`` and ``tcp6:…``, which are understood by now: ``tests.contacts.test_addresses`` and ``test_tap``
- plain ``tcp:`` to a port where TLS is spoken: ``tests.protocol.test_no_hello`` and ``tests.test_tls``
- files for a server that hands streams on: ``tests.transfer.test_broken_transfers`` and
  ``tests.transfer.tree.test_client``; what it logs of a ping: ``tests.test_tunnel``
- several files, or a folder, for a server that stores one: ``test_files``
- full standard output: ``test_cli``, ``test_output`` and ``test_standard_output``
"""

from __future__ import annotations

import errno
import os

from twisted.internet.error import ConnectError, ConnectionRefusedError, DNSLookupError, NoRouteError
from twisted.python import usage
from twisted.python.filepath import UnlistableError

from sodiumtwist.admission import checker_strings
from sodiumtwist.describe import describe_endpoint_error
from sodiumtwist.programs import tap, tunneltap
from sodiumtwist.programs.streams import cannot_read

from ..known_servers import write_servers
from ..own_folders import use_own_folders
from ..pair import SERVER_PAIR
from ..processes import SECRET, ProcessTestCase


class MessageTests(ProcessTestCase):
    """What is said before anything is connected."""

    def setUp(self) -> None:
        super().setUp()
        use_own_folders(self, os.path.join(self.directory, "own"))
        write_servers(home={"endpoint": "127.0.0.1:5555"})
        self.own = {name: os.environ[name] for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME")}

    def said(self, *words: str, **variables: str) -> str:
        """The one line of a command that does nothing else."""
        status, output, errors = self.call(*words, **{**self.own, **variables})
        self.assertEqual((status, output, len(errors)), (1, [], 1), words)
        return errors[0]

    def refused(self, kind: type[usage.Options], *words: str) -> str:
        """The line of a service that does not start."""
        before = os.getcwd()
        os.chdir(self.directory)
        try:
            ended = self.assertRaises(SystemExit, kind().parseOptions, [*words])
        finally:
            os.chdir(before)
        return str(ended.code)

    def test_several_and_folders_of_old(self) -> None:
        """Version 1 sends one file; who has several, or a folder, learns what to do."""
        self.assertIn(
            "--protocol 1 sends one file at a time; without it, all go",
            self.said("send", "--protocol", "1", "a", "b", "home:"),
        )
        error = IsADirectoryError(errno.EISDIR, "Is a directory", "my photos")
        self.assertEqual(
            str(cannot_read("my photos", error)),
            "cannot read my photos: Is a directory; --protocol 1 sends no folders; send an archive: "
            "tar c 'my photos' | sodiumtwist send … -",
        )

    def test_invitation_in_wrong_place(self) -> None:
        """Wherever an invitation is put by mistake, no line shows its secret, which is good for whoever sees it."""
        secret = "5e" * 16
        card = f"sodium://ann@example.org:5555/#{SERVER_PAIR.public.hex()}"
        invitation = f"{card}.{secret}"
        join = "this is an invitation; run: sodiumtwist join 'URL'"
        for words, says in (
            (("INVITATION",), join),
            (("ping", "INVITATION"), join),
            (("servers", "INVITATION"), "unexpected argument 'sodium://ann@"),
            (("forget", "INVITATION"), "no server is known by the name 'sodium://ann@"),
            (("join", "INVITATION", "INVITATION"), "a server can't be called 'sodium://ann@"),
            (("pubkey", "INVITATION"), "No such file or directory"),
            (("send", "a", "home:", "INVITATION"), "home: stands before 'sodium://ann@"),
            ((card,), "to keep that server by a name, run: sodiumtwist add NAME 'URL'"),
        ):
            line = self.said(*(word.replace("INVITATION", invitation) for word in words))
            self.assertIn(says, line)
            self.assertNotIn(secret, line)
        line = self.refused(tap.Options, "--key-file", "server.key", invitation)
        self.assertNotIn(secret, line)

    def test_places(self) -> None:
        """Where to send to stands last; what is neither a file nor a server is named."""
        self.make_file("a", 1)
        self.assertIn("home: stands before 'a'; where to send goes last", self.said("send", "home:", "a"))
        self.assertIn(
            "no server is known by the name 'hime', but home; and no file here is called 'hime:'",
            self.said("send", "a", "hime:"),
        )
        self.assertIn(
            "no file here is called home, but a server is; to send there: home:", self.said("send", "a", "home")
        )

    def test_no_plugins(self) -> None:
        """A folder of plugins that can't be read is named, and no class of Twisted's."""

        def find(kind: str) -> object:
            raise UnlistableError(PermissionError(errno.EACCES, "Permission denied", "/plugins"))

        self.patch(checker_strings, "findCheckerFactory", find)
        self.assertEqual(
            self.refused(tap.Options, "--discard", "--auth", "argon2:users.txt"),
            "sodium: authentication by 'argon2': Twisted can't look for plugins: /plugins: Permission denied; "
            "see twistd sodium --help",
        )

    def test_no_file_of_logins(self) -> None:
        """What makes it is named."""
        self.assertRegex(
            self.refused(tap.Options, "--discard", "--auth", "argon2:no file"),
            "^sodium: authentication by 'argon2': .*/no file: No such file or directory; to make it: "
            "sodiumtwist passwd 'no file' LOGIN; ",
        )

    def test_no_such_files(self) -> None:
        """So it is for keys and passphrases, in commands and services."""
        keygen = "nofile: No such file or directory; to make it: sodiumtwist keygen --output nofile"
        passphrase = (
            "nofile: No such file or directory; to make it: (umask 077 && cat > nofile), with the passphrase on "
        )
        self.assertIn(keygen, self.refused(tap.Options, "--discard", "--key-file", "nofile"))
        self.assertIn(passphrase, self.refused(tap.Options, "--discard", "--passphrase-file", "nofile"))
        tunnel = ("--listen", "7000", "--to", "home")
        self.assertIn(keygen, self.refused(tunneltap.Options, *tunnel, "--identity", "nofile"))
        self.assertIn(keygen, self.said("ping", "home", "--identity", "nofile"))
        self.assertIn(passphrase, self.said("ping", "home", "--passphrase-file", "nofile"))
        self.assertIn(keygen, self.said("url", "--key-file", "nofile", "--endpoint", "host"))
        # Nothing is said of a file that is there, or of another file.
        self.assertEqual(self.said("pubkey", "nofile"), "sodiumtwist: nofile: No such file or directory")

    def test_which_file(self) -> None:
        """A kind of authentication that takes a file says so, when none is named."""
        for kind in ("argon2", "file"):
            line = f"sodium: authentication by '{kind}': which file? {kind}:FILE; see twistd sodium --help"
            self.assertEqual(self.refused(tap.Options, "--discard", "--auth", kind), line)

    def test_one_page(self) -> None:
        """Who is sent to a page of the help is sent to one."""
        self.assertEqual(
            self.refused(tap.Options, "--discard", "--auth", "nonsense:x"),
            "sodium: authentication of an unknown kind, 'nonsense'; see twistd sodium --help-auth",
        )

    def test_empty_passphrase(self) -> None:
        """Of the variable: it is to be unset; of an option, to be left out."""
        self.assertEqual(
            self.said("ping", "home", SODIUMTWIST_PASSPHRASE=""),
            "sodiumtwist: $SODIUMTWIST_PASSPHRASE is empty; give a passphrase, or unset it",
        )
        self.assertIn("--passphrase is empty; give a passphrase, or leave it out", self.said("ping", "home", "-P", ""))

    def test_empty_names(self) -> None:
        """
        As a variable of the shell is that is not set. A server without the list of keys that it was to have, or with
        another folder, is not what was meant.
        """
        file = "is empty; give the name of a file, or leave it out"
        for name in ("authorized-keys", "key-file", "passphrase-file", "replay-db", "file"):
            self.assertEqual(
                self.refused(tap.Options, "--discard", f"--{name}", ""),
                f"sodium: --{name} {file}; see twistd sodium --help",
            )
        for name in ("directory", "share"):
            self.assertIn(f"--{name} is empty; give the name of a folder", self.refused(tap.Options, f"--{name}", ""))
        self.assertIn(f"--identity {file}", self.refused(tunneltap.Options, "--listen", "7000", "--identity", ""))
        self.assertIn(f"--identity {file}", self.said("ping", "home", "--identity="))
        self.assertIn(f"-o {file}", self.said("keygen", "-o", ""))
        for words in (["pubkey", ""], ["passwd", "", "ann"], ["demo", ""]):
            self.assertIn("FILE is empty", self.said(*words))
        self.assertIn("PATH is empty", self.said("send", "", "home:"))

    def test_letters_of_all_languages(self) -> None:
        """They are shown as they are; what is no letter is not."""
        self.make_file("p", 10, 0o600)
        with open(self.path("p"), "w") as file:
            file.write("geheim\n")
        for verb in ("added", "changed"):
            self.assertEqual(
                self.call("passwd", "--passphrase-file", "p", "users.txt", "été"), (0, [f"{verb} 'été'"], [])
            )
        self.assertEqual(self.call("passwd", "--delete", "users.txt", "été"), (0, ["deleted 'été'"], []))
        self.assertIn("unexpected argument 'été'", self.said("ping", "home", "été"))
        self.assertIn(r"unexpected argument '\x1b[2J\n'", self.said("ping", "home", "\x1b[2J\n"))
        self.assertIn("not 'drüben'", self.said("get", "home:a", "--existing", "drüben"))
        self.assertIn("not 'Größe'", self.refused(tap.Options, "--directory", "up", "--max-upload", "Größe"))
        self.assertIn("no server is known by the name 'büro'", self.said("forget", "büro"))

    def test_questions(self) -> None:
        """They end with their mark, and where there is more to read stands behind it."""
        line = "'b' says not on which server; did you mean home:b? see sodiumtwist get --help"
        self.assertEqual(self.said("get", "home:a", "b", "c"), f"sodiumtwist: {line}")

    def test_slips(self) -> None:
        """What is near to a command or an option is named, and nothing that is far from it."""
        for words, line in (
            (["snd", "a"], "there is no command 'snd'; did you mean send; see sodiumtwist --help"),
            (["copy", "a"], "there is no command 'copy'; see sodiumtwist --help"),
            (["ping", "--cuont", "3"], "there is no option --cuont; did you mean --count; see sodiumtwist ping --help"),
            (["list", "--quiet"], "there is no option --quiet; see sodiumtwist list --help"),
            (["send", "--ver", "a"], "--ver may be --verbose or --version; see sodiumtwist send --help"),
            (["ping", "--count"], "--count needs a value; see sodiumtwist ping --help"),
            (["send", "--quiet=no", "a"], "--quiet takes no value; see sodiumtwist send --help"),
            (["passwd"], "FILE and LOGIN are missing; see sodiumtwist passwd --help"),
            (["add", "home"], "URL is missing; see sodiumtwist add --help"),
            (["ping", "--to", "host", "--server-key", "my.pub"], "my.pub: No such file or directory"),
        ):
            self.assertEqual(self.said(*words), f"sodiumtwist: {line}")

    def test_no_connection(self) -> None:
        """In words of who runs programs, and not of who writes them."""
        refused = ConnectionRefusedError(111, "Connection refused")
        for error, line in (
            (refused, "nothing listens there: is the server running, and is that its address?"),
            (DNSLookupError("no results for hostname lookup: hime"), "there is no host hime, or no answer about it"),
            (
                ConnectError(errno.EHOSTUNREACH, "No route to host"),
                "No route to host: the host is gone or its address is wrong, or this machine has no network",
            ),
            (
                NoRouteError(errno.ENETUNREACH, "Network is unreachable"),
                "Network is unreachable: the host is gone or its address is wrong, or this machine has no network",
            ),
            (ConnectError(errno.EINVAL, "Invalid argument"), "Invalid argument"),
        ):
            self.assertEqual(describe_endpoint_error(error), line)

    def test_pasted_line(self) -> None:
        """The line of a public key is taken for its key; that of a private one is refused, and not shown."""
        write_servers()
        line = self.said("ping", "--to", "127.0.0.1:1", "--server-key", f"private key: {SECRET}")
        self.assertNotIn(SECRET, line)
        self.assertIn("the server's public key has to be a public key, not a private one", line)
