"""`python -m net`: messages by hand, between any two hosts; see `net.cli`."""

from __future__ import annotations

import sys

from net.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
