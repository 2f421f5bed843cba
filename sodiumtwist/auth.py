"""
Who may come in.
"""

from __future__ import annotations

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword, UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from zope.interface import implementer

from .core.credentials import pack_credentials, same_credentials
from .core.errors import LocalProtocolError

#: What the programs take when nothing is said, as the reference programs do.
DEFAULT_LOGIN = "username"
DEFAULT_PASSPHRASE = "passphrase"


@implementer(ICredentialsChecker)
class SingleLogin:
    """
    Lets in whoever knows one login and its passphrase.

    :param login: up to 128 bytes of UTF-8, no NUL.
    :param passphrase: likewise.
    :raises LocalProtocolError: when one of them does not fit its field.
    """

    credentialInterfaces = (IUsernamePassword,)

    def __init__(self, login: str, passphrase: str) -> None:
        self._expected = pack_credentials(login, passphrase)

    def requestAvatarId(self, credentials: UsernamePassword) -> bytes:
        """
        Compare in a time that does not depend on the texts.

        :return: the login.
        :raises UnauthorizedLogin: when either differs; which one is not said.
        """
        try:
            given = pack_credentials(credentials.username.decode(), credentials.password.decode())
        except (LocalProtocolError, UnicodeDecodeError):
            given = b""  # no login of ours
        if not same_credentials(given, self._expected):
            raise UnauthorizedLogin("login or passphrase is wrong")
        return credentials.username
