"""Findings as lines of the certificate. Pure."""

from __future__ import annotations

from net.links.verify import intervals
from net.links.verify.judge import Finding
from otter_agent import api


def row(link: str, source: str, target: str, finding: Finding) -> api.VerifyRow:
    """A line of the certificate."""
    estimate, asked = finding.estimate, finding.asked
    return api.VerifyRow(
        link=link,
        from_=source,
        to=target,
        property=finding.property,
        asked=asked,
        measured=None if estimate is None else estimate.value,
        error=None if estimate is None or asked is None else estimate.value - asked,
        ok=finding.ok,
        low=None if estimate is None else estimate.low,
        high=None if estimate is None else estimate.high,
        confidence=intervals.CONFIDENCE,
        n=0 if estimate is None else estimate.n,
        tolerance=finding.tolerance,
        note=finding.note,
    )
