"""`vigil bundle`: sign, verify, show and compare bundles."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import click

from edge.trust import trusted_keys
from engines.bundle import load_bundle
from engines.bundle_check import check_bundle, read_manifest, read_signatures
from engines.bundle_diff import differences
from engines.bundle_words import bundle_json, bundle_lines, one_line, release_words, total_bytes
from engines.errors import InputMissingError, UsageError
from engines.release import require_rising
from engines.sign_bundle import sign_bundle
from engines.signature import decode_signatures
from engines.signing_keys import key_id, read_private_key
from engines.trusted_keys import read_trusted

_PHRASE_FILE = "VIGIL_KEY_PASSPHRASE_FILE"
_BUNDLE = click.argument("root", metavar="BUNDLE", type=click.Path(path_type=Path))


@click.group(short_help="Sign, verify, show and compare bundles.")
def bundle() -> None:
    """Sign bundles where they are made, verify them where they run, tell what differs."""


@bundle.command()
@_BUNDLE
@click.option(
    "--key",
    required=True,
    metavar="NAME.key",
    type=click.Path(path_type=Path),
    help="File of the private key.",
)
@click.option(
    "--release",
    type=click.IntRange(1),
    help="Release number, which devices only let rise [default: the one it has, else the time]",
)
def sign(root: Path, key: Path, release: int | None) -> None:
    """Check BUNDLE, give it a release number and sign it.

    Signing with a second key adds a signature. A key with a passphrase asks for it, or reads it
    from the file that VIGIL_KEY_PASSPHRASE_FILE names; never from the command line.
    """
    private = read_private_key(key, passphrase=_passphrase(key))
    manifest = sign_bundle(root, private, release=release)
    click.echo(
        f"signed {one_line(manifest.name)}, {release_words(manifest)}, {len(manifest.files)} files,"
        f" with key {key_id(private.public_key())}"
    )


@bundle.command()
@_BUNDLE
@click.option(
    "--trusted",
    multiple=True,
    metavar="NAME.pub",
    type=click.Path(path_type=Path),
    help="Public key, or folder of them; may be repeated [default: this machine's]",
)
@click.option(
    "--installed",
    type=click.Path(path_type=Path),
    help="The bundle that it is to replace: its release number must not be higher.",
)
@click.option("--allow-downgrade", is_flag=True, help="Accept an older release on purpose.")
def verify(
    root: Path, trusted: tuple[Path, ...], installed: Path | None, allow_downgrade: bool
) -> None:
    """Exit with 0 only if BUNDLE is signed by a trusted key and every file is as it was signed."""
    keys = read_trusted(trusted) if trusted else trusted_keys()
    if keys is None:
        raise UsageError(
            "no trusted key is given, and none is configured on this machine",
            mend="vigil bundle verify BUNDLE --trusted NAME.pub",
        )
    checked = check_bundle(root, trusted=keys)
    manifest = checked.manifest
    if installed is not None:
        before = read_manifest(installed).manifest
        require_rising(manifest, before, where=str(root), allow_downgrade=allow_downgrade)
    click.echo(
        f"verified: {one_line(manifest.name)}, {release_words(manifest)}, {len(manifest.files)}"
        f" files, {total_bytes(manifest) / 1e6:.2f} MB, signed by {', '.join(checked.signed_by)}"
    )


@bundle.command()
@_BUNDLE
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on standard output.")
def show(root: Path, as_json: bool) -> None:
    """Tell what BUNDLE is: version, signatures, streams, threshold, what each file is for."""
    loaded = load_bundle(root)
    data = read_signatures(root)
    signers = [] if data is None else list(decode_signatures(data, where=str(root)))
    if as_json:
        click.echo(json.dumps(bundle_json(loaded, signers), indent=1))
        return
    click.echo("\n".join(bundle_lines(loaded, signers)))


@bundle.command()
@click.argument("old", metavar="A", type=click.Path(path_type=Path))
@click.argument("new", metavar="B", type=click.Path(path_type=Path))
def diff(old: Path, new: Path) -> None:
    """Tell in words how bundle B differs from bundle A; exits with 0 either way."""
    lines = differences(load_bundle(old), load_bundle(new))
    click.echo("\n".join(lines or ["no difference: both have the same content"]))


def _passphrase(key: Path) -> bytes | None:
    """The passphrase, where the key has one and somebody can give it."""
    if named := os.environ.get(_PHRASE_FILE):
        try:
            return Path(named).read_bytes().rstrip(b"\r\n")
        except OSError as error:
            raise InputMissingError(
                f"the passphrase cannot be read: {error.strerror}",
                where=named,
                mend=f"unset {_PHRASE_FILE} or mend the file",
            ) from error
    try:
        encrypted = b"BEGIN ENCRYPTED" in key.read_bytes()[:8192]
    except OSError:
        return None  # told better by whoever reads the key
    if encrypted and sys.stdin.isatty():
        return str(click.prompt("Passphrase", hide_input=True, err=True)).encode()
    return None
