"""Recipes that come with the program: found by name, or anywhere else by path."""

from __future__ import annotations

from pathlib import Path

from engines.errors import ConfigError


def shipped_names(folder: Path) -> list[str]:
    """Names of the YAML files of a folder of the program."""
    return sorted(path.stem for path in folder.glob("*.yaml"))


def find_recipe(name: str, folder: Path, *, what: str) -> Path:
    """The file of a name, or the path that was given instead of one.

    Args:
        name: A name has no slash and no ending; anything else is a path.
        folder: Where the shipped files are.
        what: Kind of recipe, for the message.

    Raises:
        ConfigError: There is no such file; the names that there are, are told.
    """
    is_name = "/" not in name and not name.endswith((".yaml", ".yml"))
    path = folder / f"{name}.yaml" if is_name else Path(name)
    if not path.is_file():
        known = ", ".join(shipped_names(folder))
        raise ConfigError(
            f"there is no {what} {name!r}",
            where=str(path),
            mend=f"choose one of: {known}; or give the path of a .yaml file",
        )
    return path
