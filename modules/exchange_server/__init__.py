"""Answers strings and arrays."""
