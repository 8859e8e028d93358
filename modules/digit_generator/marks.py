"""Whose the model is. With a key of one's own nobody else can read the watermark."""

from __future__ import annotations

import os

OWNER = os.environ.get("OTTER_OWNER", "OTTER, use case 2")
KEY = os.environ.get("OTTER_KEY", "the key of the example, which everybody knows")
