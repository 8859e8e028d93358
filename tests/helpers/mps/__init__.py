"""NVIDIA's MPS without a GPU: a control daemon that starts, answers and ends; nothing computes."""

from __future__ import annotations

import os
from pathlib import Path

FOLDER = Path(__file__).parent
NAME = "nvidia-cuda-mps-control"
PATH = f"{FOLDER}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
"""With which the stand-in is found."""
