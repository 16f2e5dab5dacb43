"""The file: whole or not there, and refused if it is not what was written."""

import hashlib
import os
import stat
import struct
import tracemalloc

import numpy as np
import pytest

import skae
from skae._files._container import read_container, write_container

HEADER = {"text": "å", "number": 0.1, "list": [1, None, True]}
ARRAYS = {
    "weights": np.arange(6, dtype=np.float32).reshape(2, 3),
    "numbers": np.array([0.1, -0.0, np.nan]),
    "bytes": np.frombuffer(b"abc", np.uint8),
}


def read(path):
    with open(path, "rb") as file:
        return read_container(file)


def test_header_and_arrays_come_back_and_can_be_changed(tmp_path):
    write_container(tmp_path / "a", HEADER, ARRAYS)
    header, arrays = read(tmp_path / "a")
    assert header == HEADER
    assert list(arrays) == list(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], array, strict=True)
        arrays[name][...] = 0


def test_file_that_is_cut_off_anywhere_is_an_error(tmp_path):
    write_container(tmp_path / "a", HEADER, ARRAYS)
    content = (tmp_path / "a").read_bytes()
    for n_bytes in range(len(content)):
        (tmp_path / "a").write_bytes(content[:n_bytes])
        with pytest.raises(ValueError, match="not written by skae.save|or cut off"):
            read(tmp_path / "a")


def test_each_flipped_bit_is_an_error(tmp_path):
    write_container(tmp_path / "a", {}, {"numbers": np.zeros(2)})
    content = (tmp_path / "a").read_bytes()
    for i in range(8 * len(content)):
        flipped = bytearray(content)
        flipped[i // 8] ^= 1 << i % 8
        (tmp_path / "a").write_bytes(flipped)
        with pytest.raises(ValueError, match="damaged"):
            read(tmp_path / "a")


def test_later_format_is_an_error_that_says_upgrade(tmp_path, monkeypatch):
    monkeypatch.setattr("skae._files._container.FORMAT", 5)
    write_container(tmp_path / "a", HEADER, ARRAYS)
    monkeypatch.undo()
    with pytest.raises(ValueError, match="of format 5, and this.*up to 4. Upgrade"):
        read(tmp_path / "a")


def test_format_of_before_the_first_release_is_an_error_that_says_so(
    tmp_path, monkeypatch
):
    """Format 1, whose detectors had another score."""
    monkeypatch.setattr("skae._files._container.FORMAT", 1)
    write_container(tmp_path / "a", HEADER, ARRAYS)
    monkeypatch.undo()
    with pytest.raises(ValueError, match="of format 1, of before.*save the detector"):
        read(tmp_path / "a")


def test_header_longer_than_a_reader_takes_is_not_written(tmp_path):
    n_others = len('{"text":"","arrays":{}}')
    longest = {"text": (2**20 - n_others) * "x"}
    with pytest.raises(
        ValueError, match="at most 1048576 bytes as JSON; it takes 1048577"
    ):
        write_container(tmp_path / "a", {"text": longest["text"] + "x"}, {})
    assert list(tmp_path.iterdir()) == []
    write_container(tmp_path / "a", longest, {})
    assert read(tmp_path / "a") == (longest, {})


def test_longer_header_is_not_read(tmp_path):
    text = b'{"arrays":{}}'.ljust(2**20 + 1)
    content = struct.pack("<II", 4, len(text)) + text
    digest = hashlib.sha256(content).digest()
    (tmp_path / "a").write_bytes(b"SKAE\r\n\x1a\n" + digest + content)
    with pytest.raises(ValueError, match="must take at most 1048576 bytes"):
        read(tmp_path / "a")


def test_reading_takes_little_more_memory_than_the_file_is_long(tmp_path):
    numbers = np.zeros(2**18)
    write_container(tmp_path / "a", {}, {"numbers": numbers})
    tracemalloc.start()
    try:
        read(tmp_path / "a")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1.5 * numbers.nbytes


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_failure_leaves_an_older_file_and_nothing_else(
    error, function, tmp_path, monkeypatch
):
    def fail(*_):
        raise error

    write_container(tmp_path / "a", HEADER, ARRAYS)
    before = (tmp_path / "a").read_bytes()
    monkeypatch.setattr(os, function, fail)
    with pytest.raises(type(error)):
        write_container(tmp_path / "a", {}, {})
    assert (tmp_path / "a").read_bytes() == before
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]


def test_new_file_replaces_the_old_one_and_keeps_its_permissions(tmp_path):
    write_container(tmp_path / "a", HEADER, ARRAYS)
    (tmp_path / "a").chmod(0o640)
    write_container(tmp_path / "a", {"new": 1}, {})
    assert read(tmp_path / "a") == ({"new": 1}, {})
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]


def test_link_stays_a_link(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "a")
    write_container(tmp_path / "link", HEADER, ARRAYS)
    assert (tmp_path / "link").is_symlink()
    assert read(tmp_path / "a")[0] == HEADER


def test_paths_that_are_no_files_are_errors_of_the_file_system(tmp_path, fitted):
    with pytest.raises(OSError, match="not a regular file"):
        skae.save(fitted, tmp_path)
    with pytest.raises(FileNotFoundError):
        skae.save(fitted, tmp_path / "nowhere" / "a")
    with pytest.raises(FileNotFoundError):
        skae.load(tmp_path / "a")
    with pytest.raises(OSError):
        skae.load(tmp_path)
    assert list(tmp_path.iterdir()) == []
