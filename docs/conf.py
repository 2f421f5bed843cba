"""
Sphinx: ``sphinx-build -W -n docs docs/_build/html``, and ``-b man`` for the manual pages. Needs no network.
"""

import re
from collections.abc import Iterator
from typing import Any

from pygments.formatters import HtmlFormatter
from sphinx.highlighting import PygmentsBridge

import sodiumtwist

project = "sodiumtwist"
author = "the developers of sodiumtwist"
copyright = author
version = release = sodiumtwist.__version__

root_doc = "index"
exclude_patterns = ["_build"]
highlight_language = "none"

html_theme = "furo"
html_title = "sodiumtwist"
html_static_path = ["_static"]
html_css_files = ["site.css"]
# Nothing on these pages comes from elsewhere: no fonts, no scripts, no search of others.
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#0b5cad", "color-brand-content": "#0b5cad"},
    "dark_css_variables": {"color-brand-primary": "#79b8ff", "color-brand-content": "#79b8ff"},
}
html_show_sourcelink = False

nitpicky = True
# Twisted's, zope's and Python's names, which would need their pages to link to.
nitpick_ignore_regex = [("py:.*", r"(twisted|zope|abc|collections|enum)\..*")]

man_pages = [
    ("reference/sodiumtwist", "sodiumtwist", "send files over encrypted TCP", [], 1),
    ("reference/twistd-sodium", "twistd-sodium", "receive files or forward streams over encrypted TCP", [], 1),
]


class Formatter(HtmlFormatter):
    """Keeps each option of a command whole where a long line is broken: browsers break words behind hyphens."""

    def _format_lines(self, tokens: Any) -> Iterator[tuple[int, str]]:
        for kind, line in super()._format_lines(tokens):
            yield kind, re.sub(r"(?<=[\s>])(--[\w-]+)", r'<span class="option">\1</span>', line)


PygmentsBridge.html_formatter = Formatter
