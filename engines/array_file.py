"""Arrays in a file: .npz, read strictly and within a stated size, never unpickled.

What is accepted is what `encode_arrays` writes and nothing else: a plain zip archive of at most
`MAX_ARRAYS` members `<name>.npy`, each a .npy of version 1.0 with plain numbers. Every size is
checked before memory is taken for it, so a file of a few bytes cannot ask for gigabytes.
"""

from __future__ import annotations

import io
import re
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from engines.errors import DataError

MAX_ARRAYS = 64
MAX_ARRAY_FILE_BYTES = 1 << 28
"""Of the file, and of all its arrays together when unpacked."""

Arrays = dict[str, NDArray[np.generic]]

# The record that ends a zip archive: APPNOTE.TXT, section 4.3.16, without a comment.
_END = struct.Struct("<4sHHHHIIH")
_END_MARK = b"PK\x05\x06"
_ZIP64_LOCATOR = b"PK\x06\x07"
_MAX_DIRECTORY_BYTES = MAX_ARRAYS * 512
_NAME = r"[A-Za-z_][A-Za-z0-9_]{0,63}"
_MEMBER = re.compile(rf"{_NAME}(\.{_NAME})?\.npy", re.ASCII)
# The .npy format: numpy.lib.format. Only plain numbers; object arrays ("|O") would be pickles.
_NPY_MAGIC = b"\x93NUMPY\x01\x00"
_NPY_HEADER = re.compile(
    rb"\{'descr': '(\|b1|\|[iu]1|<[iu][248]|<f[248])', "
    rb"'fortran_order': (True|False), "
    rb"'shape': \(((?:[0-9]{1,10}(?:, [0-9]{1,10}){1,7}|[0-9]{1,10},)?)\), \} *\n"
)


def encode_arrays(arrays: Mapping[str, NDArray[np.generic]]) -> bytes:
    """The bytes of an .npz with these arrays (compressed; the same arrays give the same bytes)."""
    stream = io.BytesIO()
    np.savez_compressed(stream, **{key: np.asarray(arrays[key]) for key in sorted(arrays)})  # type: ignore[arg-type]  # numpy's stub takes the keyword for its own flag
    return stream.getvalue()


def read_arrays(path: Path) -> Arrays:
    """Read an .npz without pickle and refuse NaN and infinity.

    Raises:
        DataError: Not an .npz of plain arrays, too large, or a NaN or infinity in it.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_ARRAY_FILE_BYTES + 1)
    except OSError as error:
        raise DataError(
            f"{path.name} is not a readable .npz file: {error.strerror}", where=str(path)
        ) from error
    return decode_arrays(data, where=str(path))


def decode_arrays(data: bytes, *, where: str) -> Arrays:
    """Arrays of the bytes of an .npz, all of them finite.

    Args:
        data: Content of the file.
        where: The file, for messages.

    Raises:
        DataError: Not an .npz of plain arrays, too large, or a NaN or infinity in it.
    """
    name = where.rpartition("/")[2]
    try:
        arrays = _unpack(data)
    except (
        ValueError,
        OSError,  # seek to a negative place
        EOFError,
        KeyError,
        OverflowError,
        RuntimeError,  # zipfile: encrypted members; NotImplementedError: other compressions
        struct.error,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise DataError(
            f"{name} is not a readable .npz file: {error}",
            where=where,
            mend="copy or export the bundle again",
        ) from error
    for key, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            bad = int((~np.isfinite(array)).sum())
            raise DataError(
                f"array {key!r} of {name} holds {bad} value(s) that are NaN or infinite",
                where=where,
                mend="the bundle was made from a failed training; train and export again",
            )
    return arrays


def _unpack(data: bytes) -> Arrays:
    _check_directory(data)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = archive.infolist()
        _check_members(members)
        arrays = {}
        for member in members:
            with archive.open(member) as stream:
                # With a limit: the rest of a bomb that declares less than it holds is not unpacked.
                content = stream.read(member.file_size)
            if len(content) != member.file_size:
                raise ValueError(f"{member.filename} is shorter than it says")
            arrays[member.filename.removesuffix(".npy")] = _decode_array(content, member.filename)
    return arrays


def _check_directory(data: bytes) -> None:
    """Refuse before `zipfile` makes an object for every entry of a giant directory."""
    if len(data) > MAX_ARRAY_FILE_BYTES:
        raise ValueError(f"more than {MAX_ARRAY_FILE_BYTES} bytes")
    if len(data) < _END.size or data[-_END.size :][:4] != _END_MARK:
        raise ValueError("it does not end like an archive")
    _, disk, first_disk, here, entries, directory, _, comment = _END.unpack(data[-_END.size :])
    zip64 = data[-_END.size - 20 :][:4] == _ZIP64_LOCATOR
    if disk or first_disk or comment or zip64 or here != entries:
        raise ValueError("it is not a plain archive")
    if entries > MAX_ARRAYS or directory > _MAX_DIRECTORY_BYTES:
        raise ValueError(f"more than {MAX_ARRAYS} arrays")


def _check_members(members: list[zipfile.ZipInfo]) -> None:
    if len(members) > MAX_ARRAYS:
        raise ValueError(f"more than {MAX_ARRAYS} arrays")
    names = [member.filename for member in members]
    if len(set(names)) != len(names):
        raise ValueError("an array stands twice in it")
    for member in members:
        if not _MEMBER.fullmatch(member.filename):
            raise ValueError(f"{member.filename[:40]!r} is no name of an array")
        if member.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
            raise ValueError(f"{member.filename} is packed in an unknown way")
    unpacked = sum(member.file_size for member in members)
    if unpacked > MAX_ARRAY_FILE_BYTES:
        raise ValueError(f"it unpacks to {unpacked} bytes, more than {MAX_ARRAY_FILE_BYTES}")


def _decode_array(content: bytes, name: str) -> NDArray[np.generic]:
    start = len(_NPY_MAGIC) + 2
    if content[: len(_NPY_MAGIC)] != _NPY_MAGIC or len(content) < start:
        raise ValueError(f"{name} is no plain array")
    (length,) = struct.unpack_from("<H", content, len(_NPY_MAGIC))
    header = _NPY_HEADER.fullmatch(content[start : start + length])
    if header is None:
        raise ValueError(f"{name} is no array of plain numbers")
    dtype = np.dtype(header[1].decode("ascii"))
    shape = tuple(int(part) for part in header[3].split(b",") if part)
    values = memoryview(content)[start + length :]
    count = 1
    for side in shape:
        count *= side
    if count * dtype.itemsize != len(values):
        raise ValueError(f"{name} has {len(values)} bytes of values, its shape is {shape}")
    if dtype.kind == "b" and count and max(values) > 1:
        raise ValueError(f"{name} has truth values other than 0 and 1")
    order: Literal["F", "C"] = "F" if header[2] == b"True" else "C"
    if not count:
        return np.zeros(shape, dtype)
    array: NDArray[np.generic] = np.frombuffer(values, dtype).reshape(shape, order=order)
    return np.array(array, order="C")  # a copy, which may be written
