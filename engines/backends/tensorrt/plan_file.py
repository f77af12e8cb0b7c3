"""The first bytes of a plan: who wrote it. For clear messages only; the sidecar decides.

Layout (TensorRT's own trtexec reads it so): bytes 0 to 3 the tag, ``ftrt`` for TensorRT and
``vtrt`` for TensorRT-RTX, bytes 24 to 27 the version's four numbers.
"""

from __future__ import annotations

from typing import Final

from engines.backends.tensorrt.library import TENSORRT, TENSORRT_RTX
from engines.errors import DataError

HEADER_BYTES: Final = 28
_TAGS: Final = {b"ftrt": TENSORRT, b"vtrt": TENSORRT_RTX}


def plan_writer(plan: bytes, *, where: str | None = None) -> tuple[str, tuple[int, ...]]:
    """(library, version) that wrote a plan.

    Raises:
        DataError: Too short for a plan, or no plan.
    """
    if len(plan) < HEADER_BYTES:
        raise DataError(
            f"this plan has {len(plan)} bytes, the header alone has {HEADER_BYTES}",
            where=where,
            mend="build it again: vigil engine build BUNDLE",
        )
    library = _TAGS.get(plan[:4])
    if library is None:
        raise DataError(
            f"this is no TensorRT plan: it begins with {plan[:4].hex()}, a plan with "
            f"{' or '.join(tag.hex() for tag in _TAGS)}",
            where=where,
            mend="build it again: vigil engine build BUNDLE",
        )
    return library, tuple(plan[24:HEADER_BYTES])
