"""Frames are walked by their headers alone: on frames that are built here byte by byte, and on those of the library."""

import random
import struct

import pytest
import zstandard

from gpu_pile.corpus import zstd_frames
from gpu_pile.corpus.zstd_frames import CHUNK, CUT_OFF, MAGIC, Frame, find_frame, is_skippable, walk_frame

RAW, RLE, COMPRESSED, RESERVED = range(4)


class Bytes:
    def __init__(self, data: bytes) -> None:
        self.data, self.size = data, len(data)

    def pread(self, n: int, start: int) -> bytes:
        return self.data[start : start + n]


def block(kind: int, length: int, last: bool = False) -> bytes:
    content = 1 if kind == RLE else length
    return (int(last) | kind << 1 | length << 3).to_bytes(3, "little") + b"c" * content


def built(*blocks: bytes, descriptor: int = 0, fields: bytes = b"\x00", checksum: bytes = b"") -> bytes:
    """A frame of these blocks; fields: what follows the descriptor (window, dictionary, content size)."""
    return MAGIC + bytes([descriptor]) + fields + b"".join(blocks) + checksum


def skippable(n: int, kind: int = 0) -> bytes:
    return struct.pack("<II", 0x184D2A50 + kind, n) + b"s" * n


def walk(data: bytes, start: int = 0) -> Frame:
    return walk_frame(Bytes(data), start)


def test_a_frame_ends_after_its_last_block():
    frame = built(block(RAW, 7), block(RLE, 100_000), block(COMPRESSED, CHUNK), block(RAW, 0, last=True))
    assert walk(frame + b"more") == Frame(len(frame), data=True, window=1024)
    assert walk(b"before" + frame, 6).end == 6 + len(frame)


def test_the_checksum_belongs_to_the_frame():
    frame = built(block(RAW, 3, last=True), descriptor=4, checksum=b"1234")
    assert walk(frame + b"more").end == len(frame)
    assert walk(frame[:-1]) == Frame(len(frame) - 1, CUT_OFF, data=True, window=1024, checksum=4)


@pytest.mark.parametrize(
    ("descriptor", "fields", "window", "dictionary"),
    [
        (0x00, b"\x00", 1 << 10, 0),
        (0x00, b"\x07", (1 << 10) + 7 * (1 << 7), 0),
        (0x00, b"\xf8", 1 << 41, 0),
        (0x01, b"\x00\x09", 1 << 10, 9),
        (0x02, b"\x00\x01\x02", 1 << 10, 0x201),
        (0x03, b"\x00\x01\x02\x03\x04", 1 << 10, 0x4030201),
        (0x20, b"\x05", 5, 0),
        (0x60, b"\x05\x01", 0x105 + 256, 0),
        (0xA0, b"\x05\x01\x00\x00", 0x105, 0),
        (0xE0, b"\x05\x01\x00\x00\x00\x00\x00\x00", 0x105, 0),
        (0xE3, b"\x09\x00\x00\x00\x05\x01\x00\x00\x00\x00\x00\x00", 0x105, 9),
        (0x40, b"\x00\x05\x01", 1 << 10, 0),
    ],
)
def test_every_kind_of_header(descriptor, fields, window, dictionary):
    frame = built(block(RAW, 4, last=True), descriptor=descriptor, fields=fields)
    assert walk(frame) == Frame(len(frame), data=True, window=window, dictionary=dictionary)


def test_every_cut_is_seen():
    frame = built(
        block(RAW, 7), block(COMPRESSED, 9, last=True), descriptor=0xE7, fields=b"\x01" * 12, checksum=b"1234"
    )
    for whole, recognised in ((frame, 1), (skippable(9), 4)):
        assert walk(whole).problem == ""
        for n in range(recognised, len(whole)):
            found = walk(whole[:n])
            assert (found.end, found.problem) == (n, CUT_OFF), n


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"garbage!", "garbage instead of a zstd frame: 67 61 72 62 61 67 65 21"),
        (built(block(RAW, 1, last=True), descriptor=8), "not a valid zstd frame header"),
        (built(block(RESERVED, 1, last=True)), "corrupt zstd frame (bad block header)"),
        (built(block(COMPRESSED, CHUNK + 1, last=True)), "corrupt zstd frame (bad block header)"),
    ],
)
def test_what_is_no_frame(data, problem):
    found = walk(data)
    assert (found.problem, found.end) == (problem, len(data))


def test_skippable_frames():
    for kind in range(16):
        assert is_skippable(skippable(3, kind))
        assert walk(skippable(3, kind) + b"x") == Frame(11, skippable=True)
    assert not is_skippable(b"\x50\x2a\x4d")
    assert not is_skippable(b"\x40\x2a\x4d\x18")


def test_frames_of_the_library_are_walked_to_their_ends():
    rng = random.Random(4)
    for _ in range(60):
        data = rng.randbytes(rng.choice([0, 1, 100, 1000, 300_000])) + b"a" * rng.choice([0, 400_000])
        options = {"write_checksum": rng.random() < 0.5, "write_content_size": rng.random() < 0.5}
        frame = zstandard.ZstdCompressor(level=rng.choice([-3, 1, 9]), **options).compress(data)
        found = walk(frame + skippable(3))
        assert (found.end, found.problem, found.data) == (len(frame), "", True)
        assert found.window >= zstandard.get_frame_parameters(frame).window_size


def test_the_next_sound_frame_is_found(monkeypatch):
    monkeypatch.setattr(zstd_frames, "_SEARCHED_BYTES", 10)  # a magic number across two reads
    sound = built(block(RAW, 4, last=True))
    broken = built(block(RESERVED, 0, last=True))
    for n in range(30):
        assert find_frame(Bytes(b"x" * n + sound), 0) == n
        assert find_frame(Bytes(b"x" * n + broken + b"y" * n + skippable(2)), 0) == 2 * n + len(broken)
        assert find_frame(Bytes(b"x" * n + broken), 0) == n + len(broken)
    assert find_frame(Bytes(sound + sound), 1) == len(sound)
    assert find_frame(Bytes(b""), 0) == 0
