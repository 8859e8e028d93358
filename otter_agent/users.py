"""Names of this machine's users."""

from __future__ import annotations

import pwd


def user_name(uid: int | None) -> str:
    """`alice`; `uid 1234` for one without an entry; "" for nobody in particular."""
    if uid is None:
        return ""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
