"""
Sphinx: ``sphinx-build -W -n docs docs/_build/html``, and ``-b man`` for the manual pages. Needs no network.
"""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import from_code
from docutils.parsers.rst import Directive

import sodiumtwist

project = "sodiumtwist"
author = "the developers of sodiumtwist"
copyright = author
version = release = sodiumtwist.__version__

extensions = ["sphinx.ext.autodoc"]
root_doc = "index"
exclude_patterns = ["_build"]
highlight_language = "none"
html_theme = "alabaster"
html_theme_options = {"description": "Encrypted TCP for Twisted", "page_width": "1100px", "fixed_sidebar": True}
html_show_sourcelink = False

autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_preserve_defaults = True
autodoc_default_options = {"members": True}
nitpicky = True
# Twisted's, zope's and Python's names, which would need their pages to link to.
nitpick_ignore_regex = [("py:.*", r"(twisted|zope|abc|collections|enum)\..*")]

man_pages = [
    ("reference/sodiumtwist", "sodiumtwist", "send files over encrypted TCP", [], 1),
    ("reference/twistd-sodium", "twistd-sodium", "receive files or forward streams over encrypted TCP", [], 1),
]


class FromCode(Directive):
    """``.. from-code:: NAME`` puts in what :data:`from_code.PARTS` has under that name."""

    required_arguments = 1

    def run(self):
        name = self.arguments[0]
        self.state_machine.insert_input(list(from_code.PARTS[name]()), f"from_code: {name}")
        return []


def setup(app):
    app.add_directive("from-code", FromCode)
    return {"parallel_read_safe": True}
