"""`vigil keys`: Ed25519 key pairs for signing bundles."""

from __future__ import annotations

from pathlib import Path

import click

from engines.signing_keys import create_key_pair, key_id, read_public_key


@click.group(short_help="Make keys for signing bundles.")
def keys() -> None:
    """Make the keys that bundles are signed with, and name them."""


@keys.command()
@click.argument("name", type=click.Path(path_type=Path))
@click.option("--passphrase", is_flag=True, help="Ask for a passphrase that protects NAME.key.")
def new(name: Path, passphrase: bool) -> None:
    """Make NAME.key (private, mode 0600, stays here) and NAME.pub (for devices)."""
    secret = None
    if passphrase:
        secret = click.prompt(
            "Passphrase", hide_input=True, confirmation_prompt=True, err=True
        ).encode()
    pair = create_key_pair(name, passphrase=secret)
    click.echo(f"{pair.private}  private, mode 0600: sign with it, never copy it to a device")
    click.echo(f"{pair.public}  public: copy it to /etc/vigil/trusted-keys.d on devices")
    click.echo(f"key id {pair.key_id}")


@keys.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
def show(files: tuple[Path, ...]) -> None:
    """Print the id of each public key (NAME.pub)."""
    for file in files:
        click.echo(f"{key_id(read_public_key(file))}  {file}")
