"""Verbs that write pages of HTML."""
