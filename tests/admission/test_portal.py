"""
``twisted.cred`` whole: portals, realms and avatars.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.portal import IRealm, Portal
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from zope.interface import Interface, implementer

from sodiumtwist import AuthenticationFailed, AuthorizedKeys, Limits, Peer, ReplayDetected, ServerUnavailable
from sodiumtwist.interfaces import ISodiumAvatar

from ..checkers import AvatarId
from ..observed import ObservedTestCase
from ..pair import CLIENT_PAIR, LOGIN, PASSPHRASE, Pair, make_client_factory, make_server_factory
from ..versions import each_version, only, spoken


@each_version
class PortalTests(ObservedTestCase):
    """``twisted.cred`` whole."""

    def setUp(self) -> None:
        super().setUp()
        self.logged_out: list[str] = []
        test = self

        @implementer(IRealm)
        class Realm:
            def requestAvatar(
                self, avatarId: AvatarId, mind: object, *interfaces: type[Interface]
            ) -> tuple[type[Interface], object, Callable[[], None]]:
                test.assertEqual(interfaces, (ISodiumAvatar,))
                assert isinstance(avatarId, bytes) and isinstance(mind, Peer)
                assert isinstance(mind.address, IPv4Address)
                name = avatarId.decode()
                return ISodiumAvatar, f"avatar of {name} at {mind.address.host}", lambda: test.logged_out.append(name)

        database = InMemoryUsernamePasswordDatabaseDontUse()
        database.addUser(LOGIN.encode(), PASSPHRASE.encode())
        self.realm = Realm()
        self.portal = Portal(self.realm, [database])
        self.factory = make_server_factory(self.clock, checker=self.portal)

    def test_avatar(self) -> None:
        """The application finds it at its peer, and it is logged out at the end, once."""
        pair = Pair(self.factory, make_client_factory(self.clock))
        pair.flush()
        assert pair.server.peer is not None
        self.assertEqual(pair.server.peer.version, spoken())
        self.assertEqual(pair.server.peer.avatar, f"avatar of {LOGIN} at 192.0.2.1")
        self.assertEqual(self.logged_out, [])
        pair.client.close()
        pair.flush()
        self.assertEqual(self.logged_out, [LOGIN])

    def test_refused(self) -> None:
        pair = Pair(self.factory, make_client_factory(self.clock, passphrase="wrong"))
        pair.flush()
        self.assertIs(pair.client.why, AuthenticationFailed)
        self.assertEqual(self.logged_out, [])

    def test_leaving_is_no_failure(self) -> None:
        """Who was let in by a key and a portal may leave, and come back."""
        keys = AuthorizedKeys([(CLIENT_PAIR.public, None)])
        limits = Limits(failures_per_address=1)
        factory = make_server_factory(self.clock, checker=self.portal, authorized_keys=keys, limits=limits)
        for count in (1, 2):
            pair = Pair(factory, make_client_factory(self.clock, pair=CLIENT_PAIR))
            pair.flush()
            self.assertTrue(pair.server.is_authenticated)
            pair.client.close()
            pair.flush()
            self.assertEqual(self.logged_out, [LOGIN] * count)

    def test_late_realm(self) -> None:
        """One that answers when the client has left is told that it has; a logout that fails hurts nobody."""
        waiting: Deferred[tuple[type[Interface], object, Callable[[], None]]] = Deferred()
        self.patch(self.realm, "requestAvatar", lambda *arguments: waiting)
        pair = Pair(self.factory, make_client_factory(self.clock))
        pair.flush()
        pair.client.abort()
        pair.flush()
        self.assertEqual(len(pair.server.calls), 1)
        waiting.callback((ISodiumAvatar, None, lambda: self.logged_out.append("late")))
        self.assertEqual(self.logged_out, ["late"])

    def test_realm_that_answers_wrongly(self) -> None:
        """It is logged, and the client is not let in, nor held up."""
        self.patch(self.realm, "requestAvatar", lambda *arguments: None)
        pair = Pair(self.factory, make_client_factory(self.clock))
        pair.flush()
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)
        self.assertIs(pair.client.why, ServerUnavailable)

    def test_logout_that_fails(self) -> None:
        """It is logged, and the application hears of the end all the same."""
        self.patch(self.realm, "requestAvatar", lambda *arguments: (ISodiumAvatar, None, lambda: 1 / 0))
        pair = Pair(self.factory, make_client_factory(self.clock))
        pair.flush()
        pair.client.close()
        pair.flush()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertIs(pair.server.why, ConnectionDone)

    @only(1)
    def test_logged_out_when_replayed(self) -> None:
        """Who was let in by the realm and is kept out after all is logged out."""
        pair = Pair(self.factory, make_client_factory(self.clock))
        self.patch(self.factory.replays, "remember", lambda fingerprint: False)
        pair.flush()
        self.clock.advance(10)
        pair.flush()
        self.assertIs(pair.server.why, ReplayDetected)
        self.assertEqual(self.logged_out, [LOGIN])

    def test_leaving_with_a_proven_key(self) -> None:
        """Who was let in, and has a logout to come, has tried nothing in vain when it leaves."""
        self.factory = make_server_factory(
            self.clock,
            checker=self.factory.checker,
            authorized_keys=AuthorizedKeys([(CLIENT_PAIR.public, None)]),
            limits=Limits(failures_per_address=1),
        )
        for count in range(1, 3):
            pair = Pair(self.factory, make_client_factory(self.clock, pair=CLIENT_PAIR))
            pair.flush()
            self.assertTrue(pair.server.is_authenticated)
            pair.client.close()
            pair.flush()
            self.assertEqual(self.logged_out, [LOGIN] * count)
        self.assertEqual(self.factory.admission.blocked_addresses, {})
