"""The real frameworks, told their part of a GPU's memory where there is none: they run as ever."""

from __future__ import annotations

import subprocess

import pytest

from otter_agent.runtimes.base import Artifact, thread_variables

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SCRIPT = """
import sys
from net import frameworks
frameworks.prepare()
import torch, tensorflow
assert not any("Waiting" in type(finder).__name__ for finder in sys.meta_path)
part = frameworks.Part(1 << 30, 0.25)
print([repr(tell(sys.modules[name], part)) for name, tell in frameworks.TELL.items()])
from net.messages import Parcel
from net.tcp.reader import Reader
from net.values import pack
from net.wire import encode
for there in (torch.arange(6.0).reshape(2, 3), tensorflow.reshape(tensorflow.range(6.0), (2, 3))):
    data = encode(Parcel(pack({"tensor": there}), 1, 1), seq=1, queued=1.0, sent=1.0)
    (message,) = Reader().feed(b"".join(data))
    here = message.value["tensor"]
    print(type(here).__name__, here.dtype, here.tolist(), here.flags.writeable)
print(float(torch.ones(2).sum()) + float(tensorflow.reduce_sum(tensorflow.ones(2))))
"""


THREADS = """
import os
import tensorflow
tensorflow.linalg.matmul(tensorflow.ones((64, 64)), tensorflow.ones((64, 64)))
print(len(os.listdir("/proc/self/task")))
"""


def test_tensorflow_has_as_many_threads_as_a_module_is_to_have(image_analysis: Artifact):
    """On any machine: it heeds the variables that both runtimes set, not that of OpenMP."""

    def threads(wanted: int) -> int:
        assert image_analysis.argv is not None
        done = subprocess.run(
            [image_analysis.argv[0], "-c", THREADS], text=True, capture_output=True, check=False,
            env={**image_analysis.env, **thread_variables({}, wanted)},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return int(done.stdout)

    assert threads(9) - threads(1) >= 8


def test_without_a_gpu_there_is_nothing_to_tell_and_nothing_breaks(image_analysis: Artifact):
    assert image_analysis.argv is not None
    told = {"OTTER_GPU_MEMORY_BYTES": str(1 << 30), "OTTER_GPU_MEMORY_FRACTION": "0.25"}
    done = subprocess.run(
        [image_analysis.argv[0], "-c", SCRIPT], env={**image_analysis.env, **told}, text=True,
        capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    sent = "ndarray float32 [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]] True"  # torch's, TensorFlow's
    assert done.stdout.splitlines()[-4:] == ["[\"''\", \"''\"]", sent, sent, "4.0"]
    assert "can't be told" not in done.stderr
