"""What a kernel refuses is an error that names the link, the property and the kernel's words.

Where there is no netem at all, the kernel refuses everything.
"""

from __future__ import annotations

import pytest
from helpers.link_bench import Bench

from net.links.spec import LinkSpec
from otter_agent.links.netem import NetemDriver


@pytest.fixture
def driver() -> NetemDriver:
    driver = NetemDriver()
    if driver.probe().usable:
        pytest.skip(f"this kernel refuses nothing: {driver.probe().detail}")
    return driver


def test_the_probe_says_what_is_missing_and_what_then(driver: NetemDriver) -> None:
    detail = driver.probe().detail
    assert "sch_netem" in detail
    assert "Linux" in detail
    assert "`tun`" in detail
    assert driver.refusals(LinkSpec(rate_bps=1e6, queue_discipline="codel"))


def test_an_error_names_link_property_and_the_kernels_words(driver: NetemDriver) -> None:
    with Bench(driver) as bench:
        link = bench.make_link()
        outcome = driver.apply({link.there: LinkSpec(loss_ratio=0.1)})[link.there]
        assert outcome.applied == LinkSpec()
        assert outcome.error is not None
        assert outcome.error.errno
        text = str(outcome.error)
        assert text.startswith(f"{link.there}: netem could not set loss, duplication and corrupt")
        assert "(ENOENT)" in text or "(EOPNOTSUPP)" in text
        assert driver.read([link.there]) == {link.there: LinkSpec()}
    driver.close()
