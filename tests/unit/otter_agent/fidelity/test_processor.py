"""What the kernel says of this machine; of processes that aren't there: nothing."""

import os

from otter_agent.fidelity import processor


def test_what_is_counted_never_falls():
    assert processor.stolen_s() <= processor.stolen_s()
    assert 0 <= processor.throttled_s(os.getpid()) <= processor.throttled_s(os.getpid())


def test_nobody_is_not_kept_from_anything():
    assert processor.throttled_s(2**22 + 1) == 0.0
