"""Where a stream's socket is: the folder is the other module's, too."""

from __future__ import annotations

import os
import stat

import pytest

from net.shared.places import Place, connect, open_to_all


def test_any_user_may_connect(tmp_path):
    place = Place(str(tmp_path / "s"))
    try:
        assert stat.S_IMODE(os.stat(tmp_path / "s").st_mode) == 0o666
        connect(str(tmp_path / "s")).close()
    finally:
        place.close()
    assert not (tmp_path / "s").exists()


def test_what_the_other_module_puts_in_its_place_is_left_alone(tmp_path):
    secret = tmp_path / "secret"
    secret.touch(mode=0o600)
    (tmp_path / "s").symlink_to(secret)
    (tmp_path / "file").touch(mode=0o600)
    for name in ("s", "file"):
        with pytest.raises(OSError, match="Socket operation on non-socket"):
            open_to_all(str(tmp_path / name))
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o600
