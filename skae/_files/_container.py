r"""A file of JSON and arrays that is written as a whole and can be read from anyone.

In little-endian byte order,

    8 bytes     b"SKAE\r\n\x1a\n"
    32 bytes    SHA-256 of everything after it
    4 bytes     the format, FORMAT
    4 bytes     the length of the JSON text, at most MAX_JSON_BYTES
    JSON text   an object; its "arrays" are {name: [dtype, shape]}
    arrays      their bytes, in the order of the JSON text, up to the end of the file

of which the first three stay where they are in every later format. The checksum finds
damage, not intent: whoever changes a file can write a new one. What is read here is
therefore not to be relied on, but reading it is safe: it runs nothing, and takes little
more memory than the file is long.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import math
import os
import reprlib
import secrets
import shutil
import struct
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAGIC = b"SKAE\r\n\x1a\n"  # a transfer that changes line ends changes it
FORMAT = 4
OLDEST_FORMAT = 2  # that is still read
DTYPES = ("<f4", "<f8", "|u1")
MAX_JSON_BYTES = 2**20  # in memory, JSON can take thirty times as much
CHUNK_BYTES = 2**16


def write_container(
    path: str | os.PathLike, header: Mapping[str, Any], arrays: Mapping[str, NDArray]
) -> None:
    """Write a header that JSON can hold, and arrays of one of `DTYPES`."""
    arrays = {
        name: np.ascontiguousarray(array).astype(
            array.dtype.newbyteorder("<"), copy=False
        )
        for name, array in arrays.items()
    }
    forms = {name: [array.dtype.str, array.shape] for name, array in arrays.items()}
    text = json.dumps(
        {**header, "arrays": forms}, allow_nan=False, separators=(",", ":")
    ).encode("ascii")
    if len(text) > MAX_JSON_BYTES:
        raise ValueError(
            f"Without its arrays, a file must take at most {MAX_JSON_BYTES} bytes as "
            f"JSON; it takes {len(text)}. A pickle has no such limit."
        )
    content: list[bytes | memoryview] = [struct.pack("<II", FORMAT, len(text)), text]
    content += [array.reshape(-1).view(np.uint8).data for array in arrays.values()]
    digest = hashlib.sha256()
    for part in content:
        digest.update(part)
    _write_atomically(os.fsdecode(path), [MAGIC, digest.digest(), *content])


def _write_atomically(path: str, parts: Iterable[bytes | memoryview]) -> None:
    """Write a file that appears when it is complete; a failure leaves nothing."""
    path = os.path.realpath(path)
    if os.path.exists(path) and not os.path.isfile(path):
        raise OSError(f"{path!r} exists and is not a regular file.")
    temporary = os.path.join(os.path.dirname(path), f".skae-{secrets.token_hex(8)}.tmp")
    try:
        with open(temporary, "xb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileNotFoundError):  # there is no older file
            shutil.copymode(path, temporary)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):  # the error that came first is raised
            os.unlink(temporary)
        raise


def read_container(
    file: io.BufferedReader,
) -> tuple[dict[str, Any], dict[str, NDArray]]:
    """The header without its "arrays", and the arrays, which own their memory.

    Raises a ValueError if the file is cut off, damaged, of a later format, put together
    in another way than `write_container` does, or changed while it is read.
    """
    if file.read(len(MAGIC)) != MAGIC:
        raise ValueError("it was not written by skae.save, or its start is damaged.")
    digest = file.read(hashlib.sha256().digest_size)
    start = file.tell()
    if _compute_digest(file) != digest:
        raise ValueError("its checksum does not match: it is damaged or cut off.")
    end = file.tell()
    file.seek(start)
    seen = hashlib.sha256()
    file_format, n_text_bytes = struct.unpack("<II", _read_bytes(file, 8, seen))
    if file_format < OLDEST_FORMAT:
        raise ValueError(
            f"it is of format {file_format}, of before the first release; this skae "
            f"reads formats from {OLDEST_FORMAT} on. Fit and save the detector again."
        )
    if file_format > FORMAT:
        raise ValueError(
            f"it is of format {file_format}, and this skae reads formats up to "
            f"{FORMAT}. Upgrade skae."
        )
    if n_text_bytes > MAX_JSON_BYTES:
        raise ValueError(f"its header must take at most {MAX_JSON_BYTES} bytes.")
    header = _parse(_read_bytes(file, n_text_bytes, seen))
    forms = {name: _read_form(form) for name, form in header.pop("arrays").items()}
    lengths = {
        name: math.prod(shape) * dtype.itemsize
        for name, (dtype, shape) in forms.items()
    }
    if sum(lengths.values()) != end - file.tell():
        raise ValueError("its arrays are not as long as its header says.")
    arrays = {}
    for name, (dtype, shape) in forms.items():
        content = _read_bytes(file, lengths[name], seen)
        array = np.frombuffer(content, dtype).reshape(shape)
        array = array.astype(dtype.newbyteorder("="), copy=False)
        if dtype.kind == "f":
            array[np.isnan(array)] = np.nan  # whatever its bits: a signaling one warns
        arrays[name] = array
    if seen.digest() != digest:
        raise ValueError("it was changed while it was read. Load it again.")
    return header, arrays


def _compute_digest(file: io.BufferedReader) -> bytes:
    """The checksum of the rest of the file, which need not fit into memory."""
    digest = hashlib.sha256()
    while chunk := file.read(CHUNK_BYTES):
        digest.update(chunk)
    return digest.digest()


def _read_bytes(file: io.BufferedReader, n_bytes: int, seen: Any) -> bytearray:
    """The next bytes, in memory that an array can own and change; a hash sees them."""
    content = bytearray(n_bytes)
    if file.readinto(content) != n_bytes:
        raise ValueError("it ends too early.")
    seen.update(content)
    return content


def _parse(text: bytearray) -> dict[str, Any]:
    """The JSON text: an object whose "arrays" are one; its numbers are finite."""
    try:
        header = json.loads(
            text.decode("utf-8"), parse_float=_parse_float, parse_constant=_parse_float
        )
    except RecursionError as error:
        raise ValueError("its header is nested too deeply.") from error
    if not isinstance(header, dict) or not isinstance(header.get("arrays"), dict):
        raise ValueError("its header must be a JSON object that lists the arrays.")
    return header


def _parse_float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"its header must hold finite numbers, not {text}.")
    return number


def _read_form(form: Any) -> tuple[np.dtype, tuple[int, ...]]:
    """Type and shape of an array, whose lengths are positive."""
    match form:
        case [str(dtype), [_, *_] as shape] if dtype in DTYPES and all(
            type(length) is int and length > 0 for length in shape
        ):
            return np.dtype(dtype), tuple(shape)
    raise ValueError(
        f"each of its arrays must have one of the types {DTYPES} and a shape of "
        f"positive integers, not {reprlib.repr(form)}."
    )
