"""
Files over the protocol: the client's end that sends a file, the server's end that receives it, where the client reads
it and where the server puts it. In version 2 also files under their names, see :mod:`sodiumtwist.transfer.tree`.
"""

from .. import lazy_names

TYPE_CHECKING = False  # type checkers know better; to import it takes time
if TYPE_CHECKING:
    from .receiver import UploadFactory as UploadFactory, UploadReceiver as UploadReceiver
    from .sender import UploadSender as UploadSender
    from .sources import Source as Source
    from .stores import Store as Store, open_store as open_store
    from .tree.client import FileClient as FileClient
    from .tree.place import Files as Files
    from .tree.report import FileResult as FileResult, Report as Report
    from .tree.walking import Root as Root, Walk as Walk

del TYPE_CHECKING

_WHERE = {
    "FileClient": "tree.client",
    "FileResult": "tree.report",
    "Files": "tree.place",
    "open_store": "stores",
    "Report": "tree.report",
    "Root": "tree.walking",
    "Source": "sources",
    "Store": "stores",
    "UploadFactory": "receiver",
    "UploadReceiver": "receiver",
    "UploadSender": "sender",
    "Walk": "tree.walking",
}

__all__ = list(_WHERE)
__getattr__, __dir__ = lazy_names.look_up_later(__name__, _WHERE)
