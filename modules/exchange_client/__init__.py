"""Exchanges strings and arrays with servers."""
