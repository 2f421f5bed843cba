"""
The user that a service runs as in the end. Only the last class needs root.
"""

from __future__ import annotations

import errno
import os
import pwd
import signal
import stat
from typing import Any
from unittest import skipIf

from twisted.cred import strcred
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import formatEvent
from twisted.plugin import getPlugins
from twisted.python import usage
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist import KeyPair, LocalProtocolError
from sodiumtwist.admission.passwords import set_password
from sodiumtwist.contacts.keyfiles import write_key_file
from sodiumtwist.programs import tunneltap
from sodiumtwist.programs.endpoint_strings import path_of_backend
from sodiumtwist.programs.service_user import ServiceUser, acting_as, check_backend, check_log, check_root, service_user
from sodiumtwist.programs.tap import Options, makeService

from ..admission.test_passwords import cheap
from ..certificates import Authority
from ..logs import logged
from ..pair import SERVER_PAIR
from ..processes import PUBLIC, SECRET, TWISTD, ProcessTestCase, unmeasured, with_place

#: Who is on every machine, and owns nothing.
NOBODY = pwd.getpwnam("nobody")


class Kernel:
    """Keeps the numbers of a process, and lets only root change them."""

    def __init__(self, case: SynchronousTestCase, uid: int = 0) -> None:
        self.uid, self.gid, self.groups = uid, 0, [0]
        #: Who acted at each change.
        self.log: list[str] = []
        case.patch(os, "geteuid", lambda: self.uid)
        case.patch(os, "getuid", lambda: self.uid)
        case.patch(os, "getegid", lambda: self.gid)
        case.patch(os, "getgroups", lambda: list(self.groups))
        case.patch(os, "seteuid", lambda uid: self._change("uid", uid, always=uid == 0))
        case.patch(os, "setegid", lambda gid: self._change("gid", gid))
        case.patch(os, "setgroups", lambda groups: self._change("groups", list(groups)))

    def _change(self, what: str, value: object, always: bool = False) -> None:
        # The saved user number of root's process lets it come back.
        if self.uid and not always:
            raise PermissionError(errno.EPERM, "Operation not permitted")
        setattr(self, what, value)
        self.log.append(what)

    @property
    def now(self) -> tuple[int, int, list[int]]:
        return self.uid, self.gid, self.groups


class ActingTests(SynchronousTestCase):
    """To be another user for a while."""

    def test_there_and_back(self) -> None:
        """With all groups, and back, whatever fails meanwhile."""
        kernel = Kernel(self)
        user = ServiceUser(1000, 100, (100, 200))
        with user.acting():
            self.assertEqual(kernel.now, (1000, 100, [100, 200]))
        self.assertEqual(kernel.now, (0, 0, [0]))
        for error in (ZeroDivisionError, KeyboardInterrupt):
            with self.assertRaises(error), user.acting():
                raise error
            self.assertEqual(kernel.now, (0, 0, [0]))

    def test_already(self) -> None:
        """Who is that user changes nothing, which they may not."""
        kernel = Kernel(self, uid=1000)
        with ServiceUser(1000, 0, (0,)).acting():
            pass
        with acting_as(None):
            pass
        self.assertEqual(kernel.log, [])

    def test_not_root(self) -> None:
        """Others may not, and are told in one line."""
        Kernel(self, uid=1000)
        with self.assertRaises(LocalProtocolError) as caught, ServiceUser(1001, 0, (0,)).acting():
            self.fail("acts as another user")
        self.assertRegex(str(caught.exception), "^this process can't become user .*; --uid and --gid are for root$")

    def explain(self, path: str, denied: set[str] = frozenset()) -> str:  # type: ignore[assignment]
        self.patch(os, "access", lambda path, mode, effective_ids=False: path not in denied)
        with self.assertRaises(PermissionError) as caught, ServiceUser(NOBODY.pw_uid, 0, (0,)).acting():
            raise PermissionError(errno.EACCES, "Permission denied", path)
        self.assertEqual(caught.exception.filename, path)
        return caught.exception.strerror

    def test_remedy(self) -> None:
        """What may not be done is told with the command that mends it."""
        Kernel(self)
        where = os.path.abspath(self.mktemp())
        os.mkdir(where)
        path = os.path.join(where, "a file")
        begin = "Permission denied for user nobody, as whom the service runs"
        self.assertEqual(self.explain(path), f"{begin}; name a place of theirs, or run: chown nobody {where}")
        with open(path, "w"):
            pass
        self.assertEqual(self.explain(path), f"{begin}; run: chown nobody '{path}'")
        self.assertEqual(self.explain(path, {where}), f"{begin}, and who can't enter {where}; put it where they can")
        theirs = os.stat_result([*os.stat(path)[:4], NOBODY.pw_uid, *os.stat(path)[5:10]])
        self.patch(os, "stat", lambda path: theirs)
        self.assertEqual(self.explain(path), f"{begin}; run: chmod u+rwX '{path}'")

    def test_nameless(self) -> None:
        """An error that names no file is told as it is."""
        Kernel(self)
        with self.assertRaises(PermissionError) as caught, ServiceUser(NOBODY.pw_uid, 0, (0,)).acting():
            raise PermissionError(errno.EPERM, "no")
        self.assertEqual(caught.exception.strerror, "no for user nobody, as whom the service runs")


class ServiceUserTests(SynchronousTestCase):
    """Who it will be, as twistd decides it."""

    def setUp(self) -> None:
        Kernel(self)
        self.patch(os, "getgrouplist", lambda name, gid: [gid, 7] if name == "nobody" else [])

    def test_options(self) -> None:
        """No option, a user, a group, both, and the user that it is already."""
        uid, gid = NOBODY.pw_uid, NOBODY.pw_gid
        cases: list[tuple[dict[str, Any], ServiceUser | None]] = [
            ({}, None),
            ({"uid": None, "gid": None, "euid": 0}, None),
            ({"uid": uid, "gid": None}, ServiceUser(uid, gid, (gid, 7))),
            ({"uid": uid, "gid": 5, "euid": 1}, ServiceUser(uid, 5, (5, 7))),
            ({"uid": None, "gid": 5}, ServiceUser(0, 5, (0,))),
            ({"uid": 0, "gid": None}, ServiceUser(0, 0, (0,))),
        ]
        for options, user in cases:
            self.assertEqual(service_user(options), user, options)

    def test_nobody_there(self) -> None:
        """A number that no user has is refused here; twistd would show a traceback."""

        def unknown(uid: int) -> None:
            raise KeyError(uid)

        self.patch(pwd, "getpwuid", unknown)
        error = self.assertRaises(LocalProtocolError, service_user, {"uid": 54321})
        self.assertEqual(str(error), "--uid 54321: there is no such user on this machine")
        self.assertEqual(ServiceUser(54321, 1, ()).name, "54321")


class CheckTests(SynchronousTestCase):
    """The log, the pid file, and another root."""

    def setUp(self) -> None:
        self.where = os.path.realpath(self.mktemp())
        os.mkdir(self.where)
        self.events = logged(self)
        self.user = ServiceUser(os.geteuid(), os.getegid(), tuple(os.getgroups()))

    def path(self, *names: str) -> str:
        return os.path.join(self.where, *names)

    def warnings(self) -> list[str]:
        return [formatEvent(event) for event in self.events if event["log_namespace"].endswith("service_user")]

    def test_log(self) -> None:
        """It is made by its user, where there is one."""
        cases: list[tuple[dict[str, Any], list[str]]] = [
            ({"logfile": self.path("log")}, ["log"]),
            ({"logfile": self.path("log"), "nodaemon": 1}, ["log"]),
            ({"logfile": self.path("log"), "syslog": 1}, []),
            ({"logfile": self.path("log"), "logger": print}, []),
            ({"logfile": "-", "nodaemon": 1}, []),
            ({"logfile": None, "nodaemon": 1}, []),
        ]
        for options, made in cases:
            check_log(options, self.user)
            self.assertEqual(os.listdir(self.where), made)
            for name in made:
                os.unlink(self.path(name))
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.where)
        check_log({}, self.user)
        self.assertEqual((os.listdir(self.where), self.warnings()), (["twistd.log"], []))

    def test_places(self) -> None:
        """A log that can't be begun anew, and a pid file that will stay, are warned of."""
        self.patch(os, "access", lambda path, mode, effective_ids=False: False)
        check_log({"logfile": self.path("log"), "pidfile": self.path("pid")}, self.user)
        log, pid = self.warnings()
        self.assertIn(f"can't make new files in {self.where}; name another one with --logfile", log)
        self.assertIn(f"can't take it out of {self.where}; name another one with --pidfile", pid)
        check_log({"nodaemon": 1, "pidfile": "/p", "chroot": self.where}, self.user)
        check_log({"nodaemon": 1, "pidfile": ""}, self.user)
        self.assertEqual(len(self.warnings()), 2)

    def test_backend(self) -> None:
        """A UNIX socket that is there must let the user connect; one that is not may come later."""
        with open(self.path("sock"), "w"):
            pass
        check_backend(self.user, "--to", self.path("sock"))
        check_backend(self.user, "--to", self.path("missing"))
        self.patch(os, "access", lambda path, mode, effective_ids=False: False)
        error = self.assertRaises(LocalProtocolError, check_backend, self.user, "--to", self.path("sock"))
        self.assertRegex(
            str(error), "^user .*, as whom the service runs, may not connect to '/.*/sock' of --to; let them"
        )

        def refuse(path: str) -> None:
            raise PermissionError

        self.patch(os, "stat", refuse)
        self.assertRaises(LocalProtocolError, check_backend, self.user, "--to", self.path("missing"))

    def test_root(self) -> None:
        """A path must be the same file behind it; of what will be made, the folder must be."""
        inside = self.path("jail", self.where[1:])
        os.makedirs(inside)
        for name in ("file", "other"):
            with open(self.path(name), "w"):
                pass
        os.link(self.path("file"), os.path.join(inside, "file"))
        with open(os.path.join(inside, "other"), "w"):
            pass
        twistd = {"chroot": self.path("jail")}
        check_root(twistd, "--file", self.path("file"))
        check_root({"chroot": None}, "--file", self.path("other"))
        check_root({}, "--file", self.path("other"))
        check_root({"chroot": "/"}, "--directory", self.path("new"))
        for name in ("other", "new", "jail"):
            error = self.assertRaises(LocalProtocolError, check_root, twistd, "--file", self.path(name))
            self.assertIn(f"behind --chroot {self.path('jail')} the path of --file is another one", str(error))


def parsed_by(twistd: dict[str, Any], *arguments: str) -> Options:
    """The options of a server, as ``twistd`` with these options of its own has them parsed."""
    options = Options()
    options.parent = usage.Options()
    options.parent.update(twistd)
    options.parseOptions(with_place(arguments))
    return options


class OptionsTests(SynchronousTestCase):
    """The command lines of both services."""

    def setUp(self) -> None:
        self.where = os.path.realpath(self.mktemp())
        os.makedirs(os.path.join(self.where, "jail"))
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.where)

    def test_log(self) -> None:
        """Who may change the user has a log that can be written."""
        twistd = {"uid": os.getuid(), "logfile": "log"}
        self.assertEqual(parsed_by(twistd, "-k", SECRET).settings.runs_as, service_user(twistd))
        self.assertTrue(os.path.exists("log"))
        os.unlink("log")
        tunnel = tunneltap.Options()
        tunnel.parent = usage.Options()
        tunnel.parent.update(twistd)
        tunnel.parseOptions(["--listen", "tcp:1", "--to", "tcp:h:1", "--server-key", PUBLIC, "-P", "p"])
        self.assertTrue(os.path.exists("log"))

    def test_user_that_cannot_be(self) -> None:
        """One line, also where a checker is made first: no such user, and a change that only root may make."""
        with open("users", "w"):
            os.chmod("users", 0o600)
        Kernel(self, uid=1000)
        for uid, said in ((54321, "there is no such user"), (NOBODY.pw_uid, "--uid and --gid are for root")):
            for more in ([], ["--auth", "argon2:users"]):
                line = str(self.assertRaises(SystemExit, parsed_by, {"uid": uid, "nodaemon": True}, *more))
                self.assertIn(said, line)
                self.assertNotIn("\n", line)

    def test_plugins_of_root(self) -> None:
        """Checkers are found before the user is another one, for whom the folders of plugins may be closed."""
        kernel, users = Kernel(self), []

        def get_plugins(*arguments: Any) -> Any:
            users.append(kernel.uid)
            return getPlugins(*arguments)

        self.patch(strcred, "getPlugins", get_plugins)
        set_password("users", "ann", cheap("secret"))
        parsed_by({"uid": NOBODY.pw_uid, "nodaemon": True}, "-k", SECRET, "--auth", "argon2:users")
        self.assertEqual(users, [0])

    def test_backends(self) -> None:
        """Both services check the socket that they connect to."""
        with open("sock", "w"):
            pass
        twistd = {"uid": os.getuid(), "nodaemon": True}
        self.patch(os, "access", lambda path, mode, effective_ids=False: not path.endswith("sock"))
        server = parsed_by(twistd, "-k", SECRET, "--forward", "unix:sock")
        error = self.assertRaises(SystemExit, makeService, server, MemoryReactorClock())
        self.assertRegex(str(error), "^sodium: user .* may not connect to 'sock' of --forward; ")
        tunnel = tunneltap.Options()
        tunnel.parent = usage.Options()
        tunnel.parent.update(twistd)
        tunnel.parseOptions(["--listen", "tcp:1", "--to", "unix:sock", "--server-key", PUBLIC])
        error = self.assertRaises(SystemExit, tunneltap.makeService, tunnel, MemoryReactorClock())
        self.assertRegex(str(error), "^sodium-tunnel: user .* may not connect to 'sock' of --to; ")
        for description, path in [
            ("unix:a", "a"),
            ("tcp:localhost:1", None),
            ("tls:localhost:1", None),
            (f"sodium:tcp\\:h\\:1:serverKey={PUBLIC}", None),
            ("nonsense", None),
        ]:
            self.assertEqual(path_of_backend(description), path, description)

    def test_other_root(self) -> None:
        """What is used behind --chroot is checked there, before anything is made; what is read once is not."""
        set_password("users", "ann", cheap("secret"))
        for name in ("keys", "plain", "pass"):
            with open(name, "w") as file:
                file.write("\n" if name == "keys" else "ann:secret\n")
            os.chmod(name, 0o600)
        before = sorted(os.listdir("."))
        for arguments in (
            ["--auth", "argon2:users"],
            ["--auth", "file:plain"],
            ["--authorized-keys", "keys"],
            ["--replay-db", "db"],
            ["--file", "out"],
            ["--directory", "up"],
        ):
            error = self.assertRaises(SystemExit, parsed_by, {"chroot": "jail"}, "-k", SECRET, *arguments)
            self.assertIn(f"behind --chroot jail the path of {arguments[0]} is another one", str(error))
            self.assertEqual(sorted(os.listdir(".")), before)
        parsed_by({"chroot": "jail"}, "-k", SECRET, "--passphrase-file", "pass", "--file", "-")


@skipIf(os.geteuid(), "only root can become another user")
class RootTests(ProcessTestCase):
    """What root starts with ``--uid``. What it uses later is made and checked by that user."""

    twistd: dict[str, Any] = {"uid": NOBODY.pw_uid, "gid": NOBODY.pw_gid, "nodaemon": True}

    def setUp(self) -> None:
        super().setUp()
        # So that others can enter it.
        os.chmod(self.directory, 0o755)
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.directory)

    def start(self, *arguments: str) -> None:
        # Not the global reactor: it would count by another clock from here on, also for other tests.
        makeService(parsed_by(self.twistd, "-k", SECRET, *arguments), MemoryReactorClock())

    def refused(self, *arguments: str) -> str:
        return str(self.assertRaises(SystemExit, self.start, *arguments))

    def test_refused(self) -> None:
        """Each file that its user could not use is refused, with what to do; done, it is taken."""
        set_password("users", "ann", cheap("secret"))
        for name in ("keys", "plain", "out"):
            with open(name, "w"):
                pass
            os.chmod(name, 0o600)
        os.mkfifo("fifo", 0o600)
        for name, arguments in [
            ("users", ["--auth", "argon2:users"]),
            ("plain", ["--auth", "file:plain"]),
            ("keys", ["--authorized-keys", "keys"]),
            ("fifo", ["--file", "fifo"]),
        ]:
            line = self.refused(*arguments)
            self.assertRegex(line, rf"^sodium: .*; run: chown nobody \S*{name}($|; see )")
            self.assertNotIn("\n", line)
            os.chown(name, NOBODY.pw_uid, -1)
            self.start(*arguments)
        for arguments in (["--replay-db", "db"], ["--directory", "new"], ["--file", "out"]):
            line = self.refused(*arguments)
            self.assertRegex(
                line, rf"^sodium: .*; name a place of theirs, or run: chown nobody {self.directory}($|; see )"
            )
        self.assertEqual(sorted(os.listdir(".")), ["fifo", "keys", "out", "plain", "users"])
        os.chown(".", NOBODY.pw_uid, -1)
        self.start("--replay-db", "db", "--directory", "new")
        for name, mode in (("db", 0o600), ("new", 0o700)):
            status = os.stat(name)
            self.assertEqual((status.st_uid, status.st_gid), (NOBODY.pw_uid, NOBODY.pw_gid))
            self.assertEqual(stat.S_IMODE(status.st_mode), mode)

    def test_database_of_root(self) -> None:
        """So is a database of which a part is root's."""
        os.chown(".", NOBODY.pw_uid, -1)
        self.start("--replay-db", "db")
        with open("db-wal", "w"):
            pass
        os.chmod("db-wal", 0o600)
        self.assertIn("db-wal: Permission denied for user nobody", self.refused("--replay-db", "db"))
        os.unlink("db-wal")
        self.start("--replay-db", "db")
        os.chown("db", 0, 0)
        self.assertIn("db: Permission denied for user nobody", self.refused("--replay-db", "db"))

    def test_key_of_root(self) -> None:
        """Key and passphrase are read once, at the start, and may be for root alone; or for the user, but no other."""
        write_key_file("key", KeyPair.from_hex(SECRET))
        with open("pass", "w") as file:
            file.write("geheim\n")
        os.chmod("pass", 0o600)
        files = ("--key-file", "key", "--passphrase-file", "pass")
        tunnel = ("--listen", "tcp:1", "--to", "tcp:h:1", "--server-key", SERVER_PAIR.public.hex(), "--identity", "key")
        for owner in (0, NOBODY.pw_uid):
            for name in ("key", "pass"):
                os.chown(name, owner, -1)
            self.assertEqual(parsed_by(self.twistd, *files).settings.pair.public.hex(), PUBLIC)
            self.parse_tunnel(*tunnel, "--passphrase-file", "pass")
        for name in ("key", "pass"):
            os.chown(name, 4711, -1)
            for parse in (
                lambda: parsed_by(self.twistd, *files),
                lambda: self.parse_tunnel(*tunnel, "--passphrase-file", "pass"),
            ):
                line = str(self.assertRaises(SystemExit, parse))
                self.assertRegex(
                    line, rf"file {name} belongs to 4711, who can .* \(mode 600\); run: chown root {name};"
                )
            os.chown(name, 0, -1)

    def parse_tunnel(self, *arguments: str) -> None:
        tunnel = tunneltap.Options()
        tunnel.parent = usage.Options()
        tunnel.parent.update(self.twistd)
        tunnel.parseOptions([*arguments])

    def test_service(self) -> None:
        """A server as another user: its socket goes at the end; in root's folder it is refused, and leaves nothing."""
        os.mkdir("theirs")
        os.chown("theirs", NOBODY.pw_uid, -1)
        with open("theirs/keys", "w") as file:
            file.write(f"{PUBLIC}\n")
        os.chmod("theirs/keys", 0o600)
        os.chown("theirs/keys", NOBODY.pw_uid, -1)
        command = [*TWISTD, "-n", "--pidfile=", "--uid", "nobody", "sodium", "-k", SECRET, "-e"]
        arguments = ["unix:theirs/sock", "-d", "theirs/up", "--authorized-keys", "theirs/keys", "--auth", "none"]
        # Another user can't save what coverage has measured.
        server = self.run_process([*command, *arguments], env=unmeasured())
        server.wait_for("set uid/gid")
        self.assertEqual(os.stat("theirs/sock").st_uid, NOBODY.pw_uid)
        server.stop()
        # The file is looked at while the process is root still, and is theirs all the same.
        self.assertEqual([line for line in server.output if "clients' keys" in line], [])
        self.assertEqual(sorted(os.listdir("theirs")), ["keys", "up"])
        server = self.run_process([*command, "unix:sock", "--discard"])
        self.assertEqual(server.wait(), 1)
        said = [line for line in server.output if "cannot listen" in line]
        self.assert_one_line(said, f"cannot listen on unix:sock: .* run: chown nobody {self.directory}$")
        self.assertEqual(os.listdir("."), ["theirs"])

    def test_reload(self) -> None:
        """What is for root alone holds on, which one line tells; what its user can read is read again."""
        write_key_file("key", KeyPair.from_hex(SECRET))
        Authority("known").issue("cert", "server.example")
        os.chmod("cert", 0o600)
        for name, text in (("pass", "first"), ("keys", PUBLIC)):
            with open(name, "w") as file:
                file.write(f"{text}\n")
            os.chmod(name, 0o600)
            os.chown(name, NOBODY.pw_uid, -1)
        command = [*TWISTD, "-n", "--pidfile=", "--uid", "nobody", "sodium", "--key-file", "key", "--discard"]
        command += ["--passphrase-file", "pass", "--authorized-keys", "keys"]
        command += ["-e", "ssl:0:interface=127.0.0.1:privateKey=cert:certKey=cert"]
        server = self.run_process(command, env=unmeasured())
        server.wait_for("set uid/gid")
        server.wait_for("listening on")
        with open("pass", "w") as file:
            file.write("\n")
        server.process.send_signal(signal.SIGHUP)
        server.wait_for("not all .* before: the passphrase file pass begins with an empty line; the certificate")
        with open("pass", "w") as file:
            file.write("second\n")
        server.process.send_signal(signal.SIGHUP)
        server.wait_for(
            "not all could be read again, so this is as it was before: "
            "key: Permission denied[^;]*; the certificate of ssl:.*/cert': Permission denied"
        )
        self.assertEqual(server.stop(), -signal.SIGTERM)

    def test_other_root(self) -> None:
        """Where no module can be imported, a server speaks each version all the same."""
        os.makedirs("jail/dev")
        # Twisted opens it when it begins to listen.
        with open("jail/dev/null", "w"):
            pass
        command = [*TWISTD, "-n", "--pidfile=", "--chroot", "jail", "sodium", "-k", SECRET, "--discard"]
        server = self.run_process([*command, "-e", "tcp:0:interface=127.0.0.1"], env=unmeasured())
        self.find_endpoint(server)
        for version in ("1", "2"):
            client = self.start_client("ping", "--count", "1", "--protocol", version)
            self.assertEqual((client.wait(), client.errors), (0, []))
