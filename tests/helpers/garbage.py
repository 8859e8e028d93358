"""A pytest plugin: what is there for the whole session isn't searched for garbage again and again.

Collected tests and the modules that they come from are 400,000 objects, none of which is ever let
go. Python would look through all of them whenever a quarter more has been made, and a test that
has it collect would wait for that.
"""

from __future__ import annotations

import gc

import pytest


def pytest_configure() -> None:
    """Nothing is garbage yet."""
    gc.disable()


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """From now on there is some: of tests alone."""
    gc.freeze()
    gc.enable()
