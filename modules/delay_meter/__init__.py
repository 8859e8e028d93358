"""Tells how old what it gets is."""
