"""Sends pictures at a steady pace."""
