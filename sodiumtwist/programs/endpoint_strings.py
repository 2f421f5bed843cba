"""
What an endpoint string, or an address, tells before anything listens or connects; and why a place can't be listened on.
"""

from __future__ import annotations

import errno
import os
import shlex
import socket
import stat
from typing import Any

from twisted.internet.defer import maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IStreamClientEndpoint, IStreamServerEndpoint
from twisted.internet.protocol import Factory

from ..contacts.addresses import is_loopback, server_description
from ..core.errors import LocalProtocolError
from ..describe import describe_bad_endpoint, printable
from ..operation.certificates import RenewedEndpoint
from ..protocol.client_endpoints import client_endpoint
from .service_user import ServiceUser, check_backend


class _NotAdopted(Exception):
    """Leaves a socket to the endpoint that has it."""


class _ListenRecorder:
    """
    Stands in for the reactor, and notes what an endpoint would listen on.

    :ivar local: whether only this machine could connect to it.
    :ivar interface: the address or name on which it would; empty for all.
    :ivar path: of the UNIX socket that it would make; ``None`` when it would make none.
    :ivar adopts: whether it would listen on a socket that was handed over to this process.
    """

    # The string alone would not do: arguments have more than one form, and haproxy: has another endpoint inside.

    def __init__(self) -> None:
        # It stays so for an endpoint that calls none of these methods: of that nothing is known.
        self.local = False
        self.interface = ""
        self.path: str | None = None
        self.adopts = False

    def listenTCP(self, port: int, factory: object, backlog: int = 50, interface: str = "") -> None:
        self.local, self.interface = is_loopback(interface), interface

    def listenSSL(
        self, port: int, factory: object, contextFactory: object, backlog: int = 50, interface: str = ""
    ) -> None:
        self.local, self.interface = is_loopback(interface), interface

    def listenUNIX(
        self, address: str | bytes, factory: object, backlog: int = 50, mode: int = 0o666, wantPID: bool = False
    ) -> None:
        self.local = True
        self.path = _path_of(address)

    def adoptStreamPort(self, fileDescriptor: int, addressFamily: int, factory: object) -> None:
        with inherited_socket(fileDescriptor) as inherited:
            # All others of streams are UNIX sockets.
            is_internet = inherited.family in (socket.AF_INET, socket.AF_INET6)
            self.local = not is_internet or is_loopback(inherited.getsockname()[0])
        self.adopts = True
        # The endpoint would close it behind this, as not its own any more.
        raise _NotAdopted


def inherited_socket(descriptor: int) -> socket.socket:
    """
    Make a socket of one that was handed over to this process, and is to stay.

    :param descriptor: its number.
    :return: a copy, to be closed.
    :raises OSError: when it is no socket.
    """
    copy = os.dup(descriptor)
    try:
        return socket.socket(fileno=copy)
    except OSError:
        os.close(copy)
        raise


def _path_of(address: str | bytes) -> str | None:
    # A UNIX socket that begins with a NUL byte is in no folder.
    return os.fsdecode(address).partition("\0")[0] or None


#: Of sockets that were handed over, by their strings: once one is adopted, its number may be that of anything else.
_handed_over: dict[str, _ListenRecorder] = {}


def _recorded(description: str) -> _ListenRecorder:
    if description in _handed_over:
        return _handed_over[description]
    recorder = _ListenRecorder()
    listening = maybeDeferred(lambda: serverFromString(recorder, description).listen(Factory()))
    # An endpoint may ask for what the recorder does not have, and fail.
    listening.addErrback(lambda reason: None)
    if recorder.adopts:
        _handed_over[description] = recorder
    return recorder


def path_of_socket(description: str) -> str | None:
    """
    Tell which UNIX socket a server endpoint makes.

    :param description: the endpoint string.
    :return: its path; ``None`` when it makes none.
    """
    return _recorded(description).path


def interface_of(description: str) -> str:
    """
    Tell on which address or name a server endpoint listens.

    :param description: the endpoint string.
    :return: it; empty for all of them, and where that can't be known.
    """
    return _recorded(description).interface


class _ConnectRecorder:
    """
    Stands in for the reactor, and notes what an endpoint would connect to.

    :ivar path: of the UNIX socket; ``None`` when it is none.
    """

    def __init__(self) -> None:
        self.path: str | None = None

    def connectUNIX(self, address: str | bytes, factory: object, timeout: float = 30, checkPID: bool = False) -> None:
        self.path = _path_of(address)


def path_of_backend(description: str) -> str | None:
    """
    Tell which UNIX socket a client endpoint connects to.

    :param description: the endpoint string.
    :return: its path; ``None`` when it connects to none.
    """
    recorder = _ConnectRecorder()
    connecting = maybeDeferred(lambda: client_endpoint(recorder, description).connect(Factory()))
    # All others ask for what the recorder does not have.
    connecting.addErrback(lambda reason: None)
    return recorder.path


def is_local(description: str) -> bool:
    """
    Tell whether a server endpoint listens on loopback addresses or a UNIX socket alone. Where that can't be known
    before it listens, the answer is no.

    :param description: the endpoint string.
    """
    return _recorded(description).local


def lock_owner(path: str) -> int | None:
    """
    Tell whose lock a UNIX socket has. Twisted's are links whose text is a process's number.

    :param path: of the socket.
    :return: the number of the process; ``None`` without a lock.
    """
    try:
        return int(os.readlink(f"{path}.lock"))
    except (OSError, ValueError):
        return None


def is_alive(pid: int) -> bool:
    """Tell whether there is a process, by its number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # It is, and somebody else's.
    except PermissionError:
        pass
    return True


def _is_abandoned(path: str) -> bool:
    """Tell whether nobody listens on a UNIX socket any more."""
    with socket.socket(socket.AF_UNIX) as trial:
        trial.settimeout(0)
        # Only this says so: where its backlog is full, somebody listens.
        return trial.connect_ex(path) == errno.ECONNREFUSED


def socket_remedy(path: str) -> str:
    """
    Say what to do when a UNIX socket can't be made, if that can be told.

    :param path: of the socket.
    :return: what to put behind the error; empty when there is nothing to say.
    """
    owner = lock_owner(path)
    quoted = shlex.quote(path)
    try:
        # To connect to what is no socket is refused as well.
        if os.path.exists(path) and not stat.S_ISSOCK(os.stat(path).st_mode):
            return "; another kind of file has that path; choose another path"
        abandoned = _is_abandoned(path)
    # Its path is too long, for instance.
    except OSError:
        return ""
    if abandoned:
        lock = f" {shlex.quote(path + '.lock')}" if owner is not None else ""
        return f"; nobody listens there, so a service that was killed has left it; run: rm {quoted}{lock}"
    if owner is not None and owner != os.getpid() and is_alive(owner):
        return f"; process {owner} holds {quoted}.lock"
    return ""


def address_remedy(error: object) -> str:
    """
    Say what to do when an address can't be listened on, if that can be told.

    :param error: what binding to it raised.
    :return: what to put behind the error; empty when there is nothing to say.
    """
    # Behind a router, for instance, a machine has not the address that others connect to.
    if isinstance(error, socket.gaierror) or getattr(error, "errno", None) == errno.EADDRNOTAVAIL:
        return "; a server's address is one of this machine's own, and 0.0.0.0:PORT is all of them"
    return ""


def parse_listening(
    reactor: Any, program: str, option: str, description: str, example: str
) -> tuple[str, IStreamServerEndpoint]:
    """
    Make a server endpoint from its string, or from an address.

    :param reactor: what the endpoint will listen with.
    :param program: the name of the service, for the error.
    :param option: the option that has the string, for the error.
    :param description: as :func:`~sodiumtwist.contacts.addresses.server_description` takes it.
    :param example: a string that is right, for the error.
    :return: the string as Twisted writes it, and the endpoint.
    :raises SystemExit: with one line, when the string is not understood.
    """
    description = server_description(description)
    try:
        return description, RenewedEndpoint(reactor, description)
    # Twisted raises whatever its parser stumbles over: ValueError, TypeError, IndexError, RuntimeError.
    except Exception as error:
        raise SystemExit(
            printable(f"{program}: {describe_bad_endpoint(option, description, example, error)}")
        ) from None


def parse_connecting(
    reactor: Any,
    program: str,
    option: str,
    description: str,
    example: str,
    user: ServiceUser | None,
    timeout: float | None = None,
) -> IStreamClientEndpoint:
    """
    Make a client endpoint from its string, or from an address.

    :param reactor: what the endpoint will connect with.
    :param program: the name of the service, for the error.
    :param option: the option that has the string, for the error.
    :param description: as :func:`~sodiumtwist.contacts.addresses.client_description` takes it.
    :param example: a string that is right, for the error.
    :param user: as whom the service will connect; ``None`` for who starts it.
    :param timeout: seconds in which the service gives up connecting by itself; ``None`` when it does not.
    :raises SystemExit: with one line, when the string is not understood, or that user may not connect to the UNIX
        socket that it names.
    """
    try:
        endpoint = client_endpoint(reactor, description, timeout)
    except Exception as error:
        raise SystemExit(
            printable(f"{program}: {describe_bad_endpoint(option, description, example, error)}")
        ) from None
    # Only then: to find that out, the name of a host is looked up.
    path = None if user is None else path_of_backend(description)
    if user is not None and path is not None:
        try:
            check_backend(user, option, path)
        except LocalProtocolError as error:
            raise SystemExit(printable(f"{program}: {error}")) from None
    return endpoint
