"""
The user that a service runs as in the end. With ``twistd --uid`` and ``--gid`` that is another one than starts it: the
command line is read as root, and what it names is used later, when the process is root no more. So what is used later
is made and checked as that user.
"""

from __future__ import annotations

import os
import pwd
import shlex
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from ..admission.replacing import may
from ..core.errors import LocalProtocolError
from ..describe.log import Logger

_log = Logger()


@dataclass(frozen=True)
class ServiceUser:
    """
    The user that a service changes to.

    :ivar uid: the number of the user.
    :ivar gid: the number of the group.
    :ivar groups: the numbers of all groups.
    """

    uid: int
    gid: int
    groups: tuple[int, ...]

    @property
    def name(self) -> str:
        """The user's name, or number, as ``chown`` takes it."""
        try:
            return pwd.getpwuid(self.uid).pw_name
        except KeyError:
            return str(self.uid)

    @contextmanager
    def acting(self) -> Iterator[None]:
        """
        Be that user for a while: what is made belongs to them, and what they can't do fails.

        :raises LocalProtocolError: when the process may not become that user.
        :raises PermissionError: in place of one that was raised meanwhile, with what to do about it.
        """
        uid, gid, groups = os.geteuid(), os.getegid(), os.getgroups()

        def come_back() -> None:
            # First the user: only root may change the groups.
            os.seteuid(uid)
            os.setegid(gid)
            os.setgroups(groups)

        changes = (self.uid, self.gid, set(self.groups)) != (uid, gid, set(groups))
        if changes:
            try:
                os.setgroups(self.groups)
                os.setegid(self.gid)
                os.seteuid(self.uid)
            except PermissionError as error:
                raise LocalProtocolError(
                    f"this process can't become user {self.name}: {error.strerror}; --uid and --gid are for root"
                ) from None
        try:
            yield
        except PermissionError as error:
            raise PermissionError(error.errno, self.explain(error), error.filename) from None
        finally:
            if changes:
                come_back()

    def explain(self, error: PermissionError) -> str:
        """
        Say whom a permission is lacking, and what to do. To be called while acting as the user.

        :param error: what was raised.
        """
        whom = f"{error.strerror} for user {self.name}, as whom the service runs"
        if not isinstance(error.filename, str):
            return whom
        path = os.path.abspath(error.filename)
        names = path.split("/")
        for count in range(1, len(names)):
            above = "/".join(names[:count]) or "/"
            if not may(above, os.X_OK):
                return f"{whom}, and who can't enter {above}; put it where they can"
        # To make or rename what is not there yet takes the folder.
        mended = path if os.path.exists(path) else os.path.dirname(path)
        quoted = shlex.quote(mended)
        if os.stat(mended).st_uid == self.uid:
            return f"{whom}; run: chmod u+rwX {quoted}"
        elsewhere = "name a place of theirs, or " if os.path.isdir(mended) else ""
        return f"{whom}; {elsewhere}run: chown {self.name} {quoted}"


def service_user(twistd: Mapping[str, Any]) -> ServiceUser | None:
    """
    Tell as which user ``twistd`` will run a service.

    :param twistd: the options of ``twistd``.
    :return: ``None`` when it stays as it is.
    :raises LocalProtocolError: when there is no such user; ``twistd`` would end with a traceback.
    """
    uid, gid = twistd.get("uid"), twistd.get("gid")
    if uid is None and gid is None:
        return None
    now = os.geteuid() if twistd.get("euid") else os.getuid()
    # As twistd has it: the groups change with the user alone.
    if uid is None or uid == now:
        return ServiceUser(now, os.getegid() if gid is None else gid, tuple(os.getgroups()))
    try:
        user = pwd.getpwuid(uid)
    except KeyError:
        raise LocalProtocolError(f"--uid {uid}: there is no such user on this machine") from None
    gid = user.pw_gid if gid is None else gid
    return ServiceUser(uid, gid, tuple(os.getgrouplist(user.pw_name, gid)))


def acting_as(user: ServiceUser | None) -> AbstractContextManager[None]:
    """Be a user for a while, see :meth:`ServiceUser.acting`; with ``None`` stay who this process is."""
    return nullcontext() if user is None else user.acting()


def check_log(twistd: Mapping[str, Any], user: ServiceUser, *, make: bool = True) -> None:
    """
    See to it that a service can go on writing its log file, and warn when it can't begin a new one, or can't take its
    pid file away at its end.

    :param twistd: the options of ``twistd``.
    :param user: as whom the service runs.
    :param make: whether to make the log file where there is none.
    :raises PermissionError: when the file is not for that user, or can't be made by them.
    """
    path = twistd.get("logfile") or (None if twistd.get("nodaemon") else "twistd.log")

    def warn_where_closed(path: str, line: str) -> None:
        folder = os.path.dirname(os.path.abspath(path))
        if not may(folder, os.W_OK):
            _log.warn(line, event="setup_warning", path=path, user=user.name, folder=folder)

    with user.acting():
        if path not in (None, "-") and not twistd.get("syslog") and not twistd.get("logger"):
            # Made here, since twistd would make it as root.
            if make or os.path.exists(path):
                os.close(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666))
            warn_where_closed(
                path,
                "the log file {path} grows without end, as user {user} can't make new files in {folder}; name another "
                "one with --logfile",
            )
        pidfile = twistd.get("pidfile")
        # Within another root, nothing is known of it yet.
        if pidfile and not twistd.get("chroot"):
            warn_where_closed(
                pidfile,
                "the pid file {path} stays when the service ends, as user {user} can't take it out of {folder}; name "
                "another one with --pidfile, or none with --pidfile=",
            )


def check_backend(user: ServiceUser, option: str, path: str) -> None:
    """
    Check that a user may connect to a UNIX socket, if it is there already.

    :param user: as whom the service runs.
    :param option: the option that names the socket, for the error.
    :param path: of the socket.
    :raises LocalProtocolError: when that user may not.
    """
    with user.acting():
        try:
            os.stat(path)
            allowed = may(path, os.W_OK)
        except PermissionError:
            allowed = False
        # Whoever makes it may start later.
        except OSError:
            return
    if not allowed:
        raise LocalProtocolError(
            f"user {user.name}, as whom the service runs, may not connect to {path!r} of {option}; let them write "
            "to it, for instance by a --gid that it has"
        )


def check_root(twistd: Mapping[str, Any], option: str, path: str) -> None:
    """
    Check that a path means the same behind ``twistd --chroot``, which comes after the command line was read.

    :param twistd: the options of ``twistd``.
    :param option: the option that names the path, for the error.
    :param path: of a file or directory that is used later.
    :raises LocalProtocolError: when it means something else there.
    """
    root = twistd.get("chroot")
    if root is None:
        return
    outside = os.path.abspath(path)
    # What will be made there: its folder has to be the same.
    if not os.path.exists(outside):
        outside = os.path.dirname(outside)
    inside = os.path.join(root, outside.lstrip("/"))
    try:
        same = os.path.samefile(outside, inside)
    except OSError:
        same = False
    if not same:
        raise LocalProtocolError(
            f"behind --chroot {root} the path of {option} is another one, {inside!r}; mount "
            f"{outside!r} there (mount --bind), or leave --chroot out"
        )
