"""`otterctl schema`."""

from __future__ import annotations

import click

from otter_ctl.cli.common import print_json


@click.command(
    epilog="""\b
Examples:
  otterctl schema > otter.schema.json
  head -1 topology.toml                    # tells editors: #:schema otter.schema.json
  otterctl schema --site > site.schema.json
"""
)
@click.option("--site", is_flag=True, help="The schema of site files instead.")
def command(site: bool) -> None:
    """Print the JSON Schema of topology files: editors complete and check with it."""
    from otter_ctl.topology.schema import json_schema, site_schema

    print_json(site_schema() if site else json_schema())
