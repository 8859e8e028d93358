"""Certificates of links in real namespaces, shaped by iproute2's own hand."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping

from net.links.spec import LinkSpec
from otter_agent import api
from otter_agent.network import Network, names
from otter_agent.verify.jobs import DirectionJob, Job
from otter_agent.verify.run import run

Key = tuple[str, str, str]


def job_of(network: Network, spec: api.MeshSpec, direction: Key, asked: LinkSpec) -> DirectionJob:
    """One direction, (link, from, to), as the agent would ask for it."""
    link, source, target = direction
    addresses = {host.name: host.address for host in spec.hosts}

    def netns(host: str) -> str:
        return names.namespace(network._agent_id, spec.name, host)

    return DirectionJob(
        link=link, from_=source, to=target, device=names.link_device(link), asked=asked,
        source_netns=netns(source), target_netns=netns(target),
        source_address=addresses[source], target_address=addresses[target],
    )  # fmt: skip


def certificate(
    network: Network,
    spec: api.MeshSpec,
    asked: Mapping[Key, LinkSpec],
    effort: api.Effort = "quick",
) -> dict[tuple[str, str, str, str], api.VerifyRow]:
    """Measure directions; (link, from, to, property) -> row."""
    jobs = tuple(job_of(network, spec, key, link) for key, link in asked.items())
    rows = [row for line in run(Job(effort=effort, directions=jobs)) for row in line.rows]
    return {(row.link, row.from_, row.to, row.property): row for row in rows}


def shape(network: Network, spec: api.MeshSpec, direction: Key, *qdisc: str) -> None:
    """Give a direction a root qdisc, as `tc qdisc add` takes it."""
    link, source, _ = direction
    netns = names.namespace(network._agent_id, spec.name, source)
    device = names.link_device(link)
    command = ["tc", "-n", netns, "qdisc", "replace", "dev", device, "root", *qdisc]
    subprocess.run(command, check=True)
