"""The command line: main.py is a table of verbs, every other file one of them, thin over the library."""

from moga_st.cli.main import main

__all__ = ["main"]
