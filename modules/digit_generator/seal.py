"""A seal on a file of weights: whether they are bit for bit those that were made.

A watermark says whose a model is, also after fine-tuning, and so can't tell of small changes. The
seal is an HMAC-SHA256 (RFC 2104) of the file's SHA-256 under the owner's key.
"""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path


def seal(file: Path, key: str) -> str:
    """The seal of a file: 64 hexadecimal digits.

    Raises:
        OSError: It can't be read.
    """
    with file.open("rb") as weights:
        digest = hashlib.file_digest(weights, "sha256").digest()
    return hmac.new(key.encode(), digest, "sha256").hexdigest()


def holds(file: Path, key: str, sealed: object) -> bool:
    """Whether a file is the one that was sealed with this key.

    Raises:
        OSError: It can't be read.
    """
    if not isinstance(sealed, str) or not sealed.isascii():
        return False
    return hmac.compare_digest(seal(file, key), sealed)
