"""
Any text, for hypothesis.
"""

from __future__ import annotations

from hypothesis import strategies as st

#: What UTF-8 can write, which is what ``st.text()`` takes. That tries each character first, for two seconds of each
#: process, since no cache of hypothesis stays behind.
UTF8 = st.characters(exclude_categories=["Cs"])
