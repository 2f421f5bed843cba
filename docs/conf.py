"""
Sphinx: ``sphinx-build -W -n docs docs/_build/html``, and ``-b man`` for the manual pages. Needs no network.
"""

import html
import re
from collections.abc import Iterator
from typing import Any

from docutils import nodes
from pygments.formatters import HtmlFormatter
from sphinx.application import Sphinx
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
smartquotes_action = "qe"  # not dashes: ``--name`` is an option, also where it is no code

nitpicky = True
# Twisted's, zope's and Python's names, which would need their pages to link to.
nitpick_ignore_regex = [("py:.*", r"(twisted|zope|abc|collections|enum)\..*")]

man_pages = [
    ("reference/sodiumtwist", "sodiumtwist", "send files over encrypted TCP", [], 1),
    ("reference/twistd-sodium", "twistd-sodium", "receive files or forward streams over encrypted TCP", [], 1),
]


class Formatter(HtmlFormatter):
    """Keeps each word of a command whole where a long line is broken: browsers break words behind hyphens."""

    def _format_lines(self, tokens: Any) -> Iterator[tuple[int, str]]:
        for kind, line in super()._format_lines(tokens):
            yield kind, re.sub(r"(?<=[\s>])(\w*-[\w-]+)", r'<span class="word">\1</span>', line)


PygmentsBridge.html_formatter = Formatter


def break_names(app: Sphinx, document: nodes.document, name: str) -> None:
    """Let long names of code be broken behind a dot, a slash or an underscore, and nowhere else, in narrow columns."""
    if app.builder.format != "html":
        return
    for literal in list(document.findall(nodes.literal)):
        text = literal.astext()
        if max(map(len, text.split()), default=0) > 16:
            # Each part is whole: browsers break words behind hyphens, too, also the two before an option.
            broken = " ".join(
                "<wbr>".join(
                    f'<span class="pre">{html.escape(part)}</span>' for part in re.split(r"(?<=[./_])(?=\w)", word)
                )
                for word in text.split()
            )
            classes = " ".join(["docutils", "literal", "notranslate", *literal["classes"]])
            literal.replace_self(nodes.raw("", f'<code class="{classes}">{broken}</code>', format="html"))


def draw_dashes(app: Sphinx, document: nodes.document, name: str) -> None:
    """Draw the dashes that Sphinx puts behind the names of parameters. Those of our own text are options' alone."""
    for text in list(document.findall(nodes.Text)):
        if text.astext() == " -- ":
            text.parent.replace(text, nodes.Text(" – "))


def setup(app: Sphinx) -> None:
    app.connect("doctree-resolved", break_names)
    app.connect("doctree-resolved", draw_dashes)
