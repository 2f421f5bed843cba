"""
Files over the protocol: the client's end that sends a file, the server's end that receives it, where the client reads
it and where the server puts it.
"""

from .. import lazy_names

TYPE_CHECKING = False  # type checkers know better; to import it takes time
if TYPE_CHECKING:
    from .receiver import UploadFactory as UploadFactory, UploadReceiver as UploadReceiver
    from .sender import UploadSender as UploadSender
    from .sources import Source as Source
    from .stores import Store as Store, open_store as open_store

del TYPE_CHECKING

_WHERE = {
    "open_store": "stores",
    "Source": "sources",
    "Store": "stores",
    "UploadFactory": "receiver",
    "UploadReceiver": "receiver",
    "UploadSender": "sender",
}

__all__ = list(_WHERE)
__getattr__, __dir__ = lazy_names.look_up_later(__name__, _WHERE)
