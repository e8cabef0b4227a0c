"""Mutate images and have each decoded under guard: whatever a file holds, it is accepted or listed with a cause.

usage: python benchmarks/fuzz_images.py [--images 10000] [--seed 0] [--out OUT.json]

Then all of them lie in one folder, and `resnet-lab data check` goes through it.

A worker process decodes one file after the other. It may not map more than 1 GiB beyond what it has with its libraries
loaded, and must answer within 5 seconds; where it does not, it is replaced, and the mutant's number is reported:
`mutant(number, seed)` gives the file again.
"""

import argparse
import io
import json
import multiprocessing
import os
import platform
import re
import resource
import struct
import subprocess
import sys
import tempfile
import zlib
from collections import Counter
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from time import perf_counter
from typing import Any

import numpy as np
import PIL
from PIL import Image, features

from resnet_lab.data.decoding import NO_MEMORY, decode, without_warnings
from resnet_lab.data.image_format import ImageFormat

SECONDS = 5
MEMORY = 2**30
EXTREMES = (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\x40\0", b"\0\x40\0\0", b"\0\0\0\1")


CHECK = """
import atexit, re, sys
from pathlib import Path
from resnet_lab.cli import main

def note_peak():
    Path(sys.argv[2]).write_text(re.findall(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[0])

atexit.register(note_peak)  # what the system says of a child when it ends counts its parent's memory too
main(["data", "check", sys.argv[1], "--json"])
"""


def main() -> None:
    """Run, print and write the figures; exit with 1 where a file crashed, hung or took too much memory."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    figures = {"command": sys.argv, **fuzz(options.images, options.seed), **context()}
    figures["data_check"] = checked(options.images, options.seed)
    text = json.dumps(figures, indent=1)
    if options.out:
        options.out.write_text(text + "\n")
    print(text)
    whole = figures["data_check"]["accepted"] == figures["accepted"] and figures["data_check"]["exit_code"] == 0
    sys.exit(bool(figures["crashes"] or figures["hangs"] or figures["out_of_memory"] or not whole))


def fuzz(images: int, seed: int) -> dict[str, Any]:
    """Decode that many mutants; how many were accepted or listed, and what went wrong."""
    causes: Counter[str] = Counter()
    accepted, peak, seconds, slowest = 0, 0, [0.0], -1
    failures: dict[str, list[int]] = {"crashes": [], "hangs": [], "out_of_memory": []}
    worker = Worker()
    for number in range(images):
        try:
            cause, took, memory = worker.decode(mutant(number, seed))
        except TimeoutError:
            failures["hangs"].append(number)
        except EOFError:
            failures["crashes"].append(number)
        else:
            peak = max(peak, memory)
            slowest = number if took > max(seconds) else slowest
            seconds.append(took)
            accepted += not cause
            causes.update([re.sub(r"\d+", "n", cause)] if cause else [])
            failures["out_of_memory"].extend([number] if cause == NO_MEMORY else [])
    worker.stop()
    return {
        "images": images,
        "seed": seed,
        "accepted": accepted,
        "listed": sum(causes.values()),
        **failures,
        "peak_rss_mib": round(peak / 2**20, 1),
        "slowest_seconds": round(max(seconds), 4),
        "slowest": slowest,
        "median_seconds": round(float(np.median(seconds)), 5),
        "causes": dict(causes.most_common()),
    }


def checked(images: int, seed: int) -> dict[str, Any]:
    """Output of the command for as many mutants in two class folders, its time, and its peak memory."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "images"
        for number in range(images):
            file = folder / "ab"[number % 2] / f"{number}.{SEEDS[number % len(SEEDS)][0].split()[0]}"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(mutant(number, seed))
        command = [sys.executable, "-c", CHECK, str(folder), f"{place}/peak"]
        environment = {**os.environ, "RESNET_LAB_CACHE": f"{place}/cache", "RESNET_LAB_PLUGINS": ""}
        start = perf_counter()
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment)
        seconds = perf_counter() - start
        peak = int(Path(place, "peak").read_text())
    found = json.loads(done.stdout)
    return {
        "exit_code": done.returncode,
        "accepted": found["images"] - len(found["bad"]),
        "listed": len(found["bad"]),
        "seconds": round(seconds, 1),
        "peak_rss_mib": round(peak / 1024, 1),
    }


class Worker:
    """A process that decodes, and its successors."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._start()

    def decode(self, content: bytes) -> tuple[str, float, int]:
        """Cause or empty text, seconds, and the most memory that was resident, in bytes.

        Raises:
            TimeoutError: no answer in time.
            EOFError: the worker ended.
        """
        try:
            self._pipe.send_bytes(content)
            if not self._pipe.poll(SECONDS):
                raise TimeoutError
            cause, took, memory = self._pipe.recv()
        except (TimeoutError, EOFError, BrokenPipeError, ConnectionResetError) as error:
            self.stop()
            self._start()
            raise error if isinstance(error, TimeoutError) else EOFError from None
        return cause, took, memory

    def stop(self) -> None:
        self._process.kill()
        self._process.join()
        self._process.close()
        self._pipe.close()

    def _start(self) -> None:
        self._pipe, theirs = self._context.Pipe()
        self._process = self._context.Process(target=serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()
        self._pipe.recv()  # it is ready


def serve(pipe: Connection) -> None:
    """Decode what comes through the pipe, until it closes."""
    image_format = ImageFormat(224)
    decode(seeds()[0][1], image_format)  # loads what is loaded late
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + MEMORY, mapped + MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    pipe.send("ready")
    with without_warnings():
        while True:
            try:
                content = pipe.recv_bytes()
            except EOFError:
                return
            Path("/proc/self/clear_refs").write_text("5")  # begins a new peak
            start = perf_counter()
            _, examined = decode(content, image_format)
            pipe.send((examined.cause, perf_counter() - start, peak_memory()))


def peak_memory() -> int:
    """Bytes of this process that were resident at most."""
    status = Path("/proc/self/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) * 1024


def seeds() -> list[tuple[str, bytes]]:
    """Small sound images, by kind."""
    y, x = np.mgrid[0:80, 0:96] / 24
    waves = (127.5 * (1 + np.stack([np.sin(x + y), np.cos(2 * x - y), np.sin(x * y), np.cos(x)], axis=-1))).astype("u1")
    rgba = Image.fromarray(waves, "RGBA")
    rgb, grey, palette = rgba.convert("RGB"), rgba.convert("L"), rgba.convert("RGB").quantize(16)
    exif = Image.Exif()
    exif[0x0112] = 6
    frames: dict[str, Any] = {"save_all": True, "append_images": [rgb.rotate(90), rgb.rotate(180)]}
    wide = Image.fromarray(np.arange(6400, dtype=np.uint16).reshape(80, 80) * 10)
    kinds: list[tuple[str, Image.Image, str, dict[str, Any]]] = [
        ("jpeg baseline", rgb, "JPEG", {"exif": exif}),
        ("jpeg progressive", rgb, "JPEG", {"progressive": True, "subsampling": 0}),
        ("jpeg grey", grey, "JPEG", {}),
        ("jpeg cmyk", rgb.convert("CMYK"), "JPEG", {}),
        ("jpeg cmyk progressive", rgb.convert("CMYK"), "JPEG", {"progressive": True}),
        ("png rgb", rgb, "PNG", {"exif": exif}),
        ("png rgba", rgba, "PNG", {}),
        ("png palette", palette, "PNG", {"transparency": 3, "bits": 4}),
        ("png 16 bits", wide, "PNG", {}),
        ("png one bit", rgb.convert("1"), "PNG", {}),
        ("png animated", rgb, "PNG", frames),
        ("webp lossy", rgb, "WEBP", {"exif": exif}),
        ("webp lossy with alpha", rgba, "WEBP", {}),
        ("webp lossless", rgb, "WEBP", {"lossless": True}),
        ("webp animated", rgb, "WEBP", {**frames, "duration": 40}),
        ("gif", palette, "GIF", {"transparency": 1}),
        ("gif interlaced", palette, "GIF", {"interlace": True}),
        ("gif animated", rgb, "GIF", {**frames, "duration": 40, "disposal": 2}),
    ]
    return [(name, encoded(image, kind, options)) for name, image, kind, options in kinds]


def encoded(image: Image.Image, kind: str, options: dict[str, Any]) -> bytes:
    """The bytes of its file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


SEEDS = seeds()


def mutant(number: int, seed: int) -> bytes:
    """The file of that number: a seed image after one to four mutations."""
    random = Random(f"{seed} {number}")
    content = bytearray(SEEDS[number % len(SEEDS)][1])
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        random.choice(MUTATIONS)(content, random)
    if content.startswith(b"\x89PNG") and random.random() < 0.8:
        return repaired(content)  # or else its checksums end most stories
    return bytes(content)


def flip(content: bytearray, random: Random) -> None:
    """Some bits, anywhere."""
    for _ in range(random.choice((1, 2, 8, 64))):
        if content:
            content[random.randrange(len(content))] ^= 1 << random.randrange(8)


def flip_header(content: bytearray, random: Random) -> None:
    """A few bytes of the first 64."""
    for _ in range(random.randint(1, 4)):
        if content:
            content[random.randrange(min(64, len(content)))] = random.randrange(256)


def truncate(content: bytearray, random: Random) -> None:
    """The end is lost."""
    del content[random.randrange(len(content) + 1) :]


def cut(content: bytearray, random: Random) -> None:
    """A piece is lost."""
    start = random.randrange(len(content) + 1)
    del content[start : start + random.choice((1, 2, 16, 200))]


def repeat(content: bytearray, random: Random) -> None:
    """A piece comes again, perhaps often."""
    start = random.randrange(len(content) + 1)
    piece = content[start : start + random.choice((1, 4, 64, 1000))]
    content[start:start] = piece * random.choice((1, 1, 2, 500))


def splice(content: bytearray, random: Random) -> None:
    """A piece of another image."""
    other = random.choice(SEEDS)[1]
    start, end = sorted(random.randrange(len(other) + 1) for _ in range(2))
    place = random.randrange(len(content) + 1)
    content[place : place + random.choice((0, end - start))] = other[start:end]


def extreme(content: bytearray, random: Random) -> None:
    """A field of 2 or 4 bytes, anywhere in the first 200, becomes very large or small."""
    place, value = random.randrange(200), random.choice(EXTREMES)
    size = random.choice((2, 4))
    if place + size <= len(content):
        content[place : place + size] = random.choice((value[:size], value[::-1][:size]))


def resize(content: bytearray, random: Random) -> None:
    """The dimensions that the header gives."""
    width, height = (random.choice((0, 1, 97, 3000, 8000, 12_000, 16_383, 65_535)) for _ in range(2))
    if content.startswith(b"\x89PNG"):
        put(content, 16, ">II", random.choice((width, 2**31 - 1)), height)
    elif content.startswith(b"GIF"):
        frame = content.find(b"\x2c")
        put(content, random.choice((6, frame + 5 if frame > 0 else 6)), "<HH", width, height)
    elif content.startswith(b"\xff\xd8"):
        frame = max(content.find(b"\xff\xc0"), content.find(b"\xff\xc2"))
        put(content, frame + 5, ">HH", height, width)
    elif (extended := content.find(b"VP8X")) > 0:
        put(content, extended + 12, "<HBHB", width, 0, height, 0)
    elif (lossy := content.find(b"VP8 ")) > 0:
        put(content, lossy + 14, "<HH", width & 0x3FFF, height & 0x3FFF)
    elif (lossless := content.find(b"VP8L")) > 0:
        put(content, lossless + 9, "<I", (width & 0x3FFF) | (height & 0x3FFF) << 14)


def relength(content: bytearray, random: Random) -> None:
    """The length that a chunk, segment or block gives."""
    marks = (
        b"IDAT",
        b"IHDR",
        b"fcTL",
        b"\xff\xda",
        b"\xff\xc4",
        b"\xff\xdb",
        b"\xff\xe1",
        b"VP8",
        b"ANMF",
        b"RIFF",
        b"\x2c",
    )
    found = [(place, mark) for mark in marks if (place := content.find(mark)) >= 0]
    if not found:
        return
    place, mark = random.choice(found)
    if mark in (b"IDAT", b"IHDR", b"fcTL"):
        put(content, place - 4, ">I", random.choice((0, 1, 2**16, 2**31 - 1, 2**32 - 1)))
    elif mark[0] == 0xFF:
        put(content, place + 2, ">H", random.choice((0, 1, 2, 255, 65_535)))
    else:
        put(content, place + 4, "<I", random.choice((0, 1, 2**16, 2**31 - 1, 2**32 - 1)))


def put(content: bytearray, place: int, layout: str, *values: int) -> None:
    """Put it where it fits."""
    if 0 <= place <= len(content) - struct.calcsize(layout):
        struct.pack_into(layout, content, place, *values)


def repaired(content: bytearray) -> bytes:
    """A PNG whose chunks have the checksums that they should."""
    place = 8
    while place + 12 <= len(content):
        length = int.from_bytes(content[place : place + 4], "big")
        end = place + 8 + length
        put(content, end, ">I", zlib.crc32(content[place + 4 : end]))
        place = end + 4
    return bytes(content)


Mutation = Callable[[bytearray, Random], None]
MUTATIONS: tuple[Mutation, ...] = (flip, flip_header, truncate, cut, repeat, splice, extreme, resize, resize, relength)


def context() -> dict[str, Any]:
    """Context of the measurements."""
    libraries = {name: features.version(name) for name in ("jpg", "libjpeg_turbo", "zlib", "webp", "avif")}
    return {
        "versions": {"python": platform.python_version(), "pillow": PIL.__version__, **libraries},
        "device": {"machine": platform.machine(), "system": platform.system(), "cpus": os.cpu_count()},
    }


if __name__ == "__main__":
    main()
