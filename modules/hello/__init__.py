"""The smallest module."""
