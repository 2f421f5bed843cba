"""
The private keys that ``sodiumtwist join`` makes, one for each invitation. A comment in its file says for which: so the
same invitation finds its key again, when the server's answer was lost on the way and may have been a yes.

Until the server has said yes, the name of the file ends in ``.joining``.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from ..admission.invitations import hash_secret
from ..admission.replacing import locked_folder, replace_text, sync_directory
from ..core.errors import LocalProtocolError, SodiumError
from ..core.keys import KeyPair
from .keyfiles import KEY_FILE_LIMIT, read_key_file
from .servers import identities_folder

#: What the names of the files end in.
SUFFIX = ".key"

#: What stands behind that until the server has let the key in.
JOINING = ".joining"

_INVITATION = re.compile(r"(?m)^# invitation=([0-9a-f]{64})$")


@dataclass
class Identity:
    """
    A key, and where it is.

    :ivar pair: the key pair.
    :ivar path: of its file.
    :ivar used: whether it was made earlier: a server may have let it in, and its answer been lost.
    """

    pair: KeyPair
    path: str
    used: bool = False

    @property
    def joined(self) -> bool:
        """Whether a server has let it in."""
        return not self.path.endswith(JOINING)

    def keep(self) -> None:
        """
        Give it its lasting name: the server has let it in.

        :raises OSError: when that can't be done.
        """
        if not self.joined:
            lasting = self.path.removesuffix(JOINING)
            os.rename(self.path, lasting)
            self.path = lasting
            sync_directory(os.path.dirname(lasting))

    def delete(self) -> None:
        """
        Take it away, if no server has let it in.

        :raises OSError: when that can't be done.
        """
        if not self.joined:
            os.unlink(self.path)


def find_identity(secret: bytes) -> str | None:
    """
    Find the key that was made for an invitation.

    :param secret: of the invitation.
    :return: the path of its file; ``None`` when there is none.
    :raises LocalProtocolError: when the user has no home.
    """
    folder, digest = identities_folder(), hash_secret(secret).hex()
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return None
    for name in names:
        path = os.path.join(folder, name)
        if name.endswith((SUFFIX, SUFFIX + JOINING)) and _invitation_of(path) == digest:
            return path
    return None


def _invitation_of(path: str) -> str | None:
    try:
        # A FIFO would be waited for.
        with open(path, opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK), errors="replace") as file:
            found = _INVITATION.search(file.read(KEY_FILE_LIMIT))
    except OSError:
        return None
    return None if found is None else found[1]


@contextmanager
def identity_for(secret: bytes, name: str) -> Iterator[Identity]:
    """
    Get the key for an invitation. It is made when there is none.

    :param secret: of the invitation.
    :param name: what the server will be called, for the name of the file.
    :raises OSError: when the file can't be read or written.
    :raises SodiumError: when the user has no home, when the file is not as it should be, and when another program uses
        the same invitation just now.
    """
    folder = identities_folder()
    os.makedirs(folder, 0o700, exist_ok=True)
    with locked_folder(os.path.join(folder, name)):
        found = find_identity(secret)
        path = found or _make(folder, name, secret)
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Else it has just been used, and the file has another name, or none.
            free = os.path.exists(path)
        except BlockingIOError:
            free = False
        if not free:
            raise LocalProtocolError("another program is using this invitation just now")
        yield Identity(read_key_file(path), path, found is not None)
    finally:
        # This ends the lock.
        os.close(fd)


def _make(folder: str, name: str, secret: bytes) -> str:
    """Make a key under a name that nothing has."""
    number, tried = 1, os.path.join(folder, name + SUFFIX)
    # Beside a key that is in use no other may lie that could get its name.
    while os.path.lexists(tried) or os.path.lexists(tried + JOINING):
        number += 1
        tried = os.path.join(folder, f"{name}-{number}{SUFFIX}")
    pair, path = KeyPair.generate_to_keep(), tried + JOINING
    text = (
        "# sodiumtwist: a private key, made to join a server. Show it to nobody.\n"
        f"# invitation={hash_secret(secret).hex()}\nprivate key: {pair.secret.hex()}\n"
    )
    try:
        replace_text(path, text)
        # Before its public key is given away: the disk has the private one by then.
        sync_directory(folder)
    # Writing names no file, or a temporary one, of which the user knows nothing.
    except OSError as error:
        with suppress(FileNotFoundError):
            os.unlink(path)
        raise OSError(error.errno, f"no key can be written there: {error.strerror}", folder) from None
    return path


def delete_key(path: str) -> bool:
    """
    Delete a key that ``sodiumtwist join`` has made.

    :param path: of its file.
    :return: whether it was deleted; not where it is one of the user's own.
    :raises OSError: when that can't be done.
    """
    try:
        folder = identities_folder()
    except SodiumError:
        return False
    if os.path.dirname(os.path.realpath(path)) != os.path.realpath(folder):
        return False
    os.unlink(path)
    sync_directory(folder)
    return True
