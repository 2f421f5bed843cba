"""
Words for people: addresses, endpoint strings, sizes and errors in them, and what is fit to be shown at all.
"""

# All of them, for they are these modules'. The log stands beside them: it imports Twisted.
from .sizes import *  # noqa: F403
from .words import *  # noqa: F403
