"""
Sphinx: ``sphinx-build -W -n docs docs/_build/html``, and ``-b man`` for the manual pages. Needs no network.
"""

import sodiumtwist

project = "sodiumtwist"
author = "the developers of sodiumtwist"
copyright = author
version = release = sodiumtwist.__version__

root_doc = "index"
exclude_patterns = ["_build"]
highlight_language = "none"
html_theme = "alabaster"
html_theme_options = {"description": "Encrypted TCP for Twisted", "page_width": "1100px", "fixed_sidebar": True}
html_show_sourcelink = False

nitpicky = True
# Twisted's, zope's and Python's names, which would need their pages to link to.
nitpick_ignore_regex = [("py:.*", r"(twisted|zope|abc|collections|enum)\..*")]

man_pages = [
    ("reference/sodiumtwist", "sodiumtwist", "send files over encrypted TCP", [], 1),
    ("reference/twistd-sodium", "twistd-sodium", "receive files or forward streams over encrypted TCP", [], 1),
]
