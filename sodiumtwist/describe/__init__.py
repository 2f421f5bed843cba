"""
Words for people: addresses, endpoint strings and errors in them, and what is fit to be shown at all.
"""

# All of it, for it is one module's. The log stands beside it: it imports Twisted.
from .words import *  # noqa: F403
