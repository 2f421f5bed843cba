"""
Who may come in: checkers of logins, lists of keys, limits, and the memory of what was accepted before.
"""

from .. import lazy_names

TYPE_CHECKING = False  # type checkers know better; to import it takes time
if TYPE_CHECKING:
    from .authorized import AuthorizedKeys as AuthorizedKeys, AuthorizedKeysFile as AuthorizedKeysFile
    from .checkers import AnyLogin as AnyLogin, SingleLogin as SingleLogin
    from .limits import Limits as Limits
    from .replay_database import ReplayDatabase as ReplayDatabase
    from .replays import IReplayMemory as IReplayMemory, ReplayMemory as ReplayMemory

del TYPE_CHECKING

_WHERE = {
    "AnyLogin": "checkers",
    "AuthorizedKeys": "authorized",
    "AuthorizedKeysFile": "authorized",
    "IReplayMemory": "replays",
    "Limits": "limits",
    "ReplayDatabase": "replay_database",
    "ReplayMemory": "replays",
    "SingleLogin": "checkers",
}

__all__ = list(_WHERE)
__getattr__, __dir__ = lazy_names.look_up_later(__name__, _WHERE)
