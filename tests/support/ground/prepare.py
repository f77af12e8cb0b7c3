"""`python -m support.ground.prepare`: make what booted devices need, while something else goes on.

Image and wheels come over the network, so this is mostly waiting. Tests that need them wait for it
to end; nothing is made twice. A machine that cannot boot devices is left alone.
"""

from __future__ import annotations

import sys

from support.ground.commands import CommandError
from support.ground.image import bare_image
from support.ground.needs import why_no_device
from support.ground.wheels import wheelhouse


def main() -> int:
    """What fails here fails again, and is told, where it is needed."""
    if why_no_device() is not None:
        return 0
    try:
        bare_image()
        wheelhouse()
    except CommandError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
