"""`otterctl completion`."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command(
    epilog="""\b
Examples:
  otterctl completion bash > /etc/bash_completion.d/otterctl
  source <(otterctl completion zsh)
"""
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print a shell's completion script: verbs, options, names of meshes and modules."""
    kind = get_completion_class(shell)
    assert kind is not None
    root = ctx.find_root().command
    click.echo(kind(root, {}, "otterctl", "_OTTERCTL_COMPLETE").source())
