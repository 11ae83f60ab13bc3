"""``fastsim completion``: print the script with which a shell completes commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from fastsim.cli.options import debug_option


@click.command("completion", short_help="Print a shell completion script.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@debug_option
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the completion script of SHELL.

    \b
    Examples:
      fastsim completion bash > ~/.local/share/bash-completion/completions/fastsim
      fastsim completion zsh > "${fpath[1]}/_fastsim"
      fastsim completion fish > ~/.config/fish/completions/fastsim.fish
    """
    completion = get_completion_class(shell)
    assert completion is not None, "click.Choice lets only known shells pass"
    click.echo(completion(ctx.find_root().command, {}, "fastsim", "_FASTSIM_COMPLETE").source())
