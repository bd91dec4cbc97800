"""``cameo completion``."""

import click
from click.shell_completion import get_completion_class

from cameo.cli.group import Failure


@click.command(
    epilog="""\b
Put one of these where your shell starts:
  eval "$(cameo completion bash)"              ~/.bashrc
  eval "$(cameo completion zsh)"               ~/.zshrc
  cameo completion fish | source               ~/.config/fish/config.fish
"""
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the script that completes commands and options in SHELL."""
    kind = get_completion_class(shell)
    assert kind is not None, "click has all three"
    try:
        click.echo(kind(ctx.find_root().command, {}, "cameo", "_CAMEO_COMPLETE").source())
    except RuntimeError as error:  # an old bash
        raise Failure(str(error)) from error
