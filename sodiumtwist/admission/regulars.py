"""
From where logins came in before.
"""

from __future__ import annotations

from collections.abc import Hashable

#: How many logins are remembered with the addresses from where they came in; then the oldest are forgotten.
REGULARS_TABLE_SIZE = 10_000

#: How many addresses are remembered for one login. A login that comes from everywhere pushes out its own addresses
#: only.
ADDRESSES_OF_A_LOGIN = 8


class Regulars:
    """
    Remembers which logins came in from which addresses. Only who gets in is remembered, so strangers can't fill it.

    :ivar addresses: from where each login came in. The oldest stand first, in both.
    """

    def __init__(self) -> None:
        self.addresses: dict[Hashable, dict[str, None]] = {}

    def came_in(self, login: Hashable, where: str) -> None:
        """
        Remember that a login came in.

        :param login: the login, always in the same form.
        :param where: from there, as :func:`~sodiumtwist.admission.networks.network` tells it.
        """
        known = self.addresses.pop(login, {})
        known.pop(where, None)
        known[where] = None
        if len(known) > ADDRESSES_OF_A_LOGIN:
            del known[next(iter(known))]
        self.addresses[login] = known
        if len(self.addresses) > REGULARS_TABLE_SIZE:
            del self.addresses[next(iter(self.addresses))]

    def knows(self, login: Hashable, where: str | None) -> bool:
        """
        Tell whether a login came in from there before.

        :param where: ``None`` where there is no address; nothing is known of such places.
        """
        return where is not None and where in self.addresses.get(login, ())
