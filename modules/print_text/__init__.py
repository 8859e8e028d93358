"""Prints the text that reaches it."""
