"""Figures of docs/scale.md, computed from the files in benchmarks/results/ or from the rules that it gives."""

import math
from statistics import median

from tests.figures.pages import Section, stored

IMAGES, IMAGENET, PARAMETERS = 14_197_122, 1_281_167, 25_557_032


def test_batch_size_and_learning_rate() -> None:
    section = Section("scale", "Batch size and learning rate")
    sizes = [256 * 2**power for power in range(6)]
    section.table(
        [
            [None, *(f"{0.1 * size / 256:g}" for size in sizes)],
            [None, *(f"{math.ceil(IMAGENET / size):,}" for size in sizes)],
        ]
    )
    section.says("| batch size | " + " | ".join(f"{size:,}" for size in sizes) + " |")
    section.conditions(
        "momentum 0.9",
        "et al. 2017",
        "et al. 2022",
        "over the first 5 epochs",
        "section 2)",
        "from 0.1 for 256 images",
        "batches of 8,192",
        "32 images per GPU",
    )
    section.done()


def test_imagenet_in_numbers() -> None:
    """T = E N / (n r e)."""
    section = Section("scale", "ImageNet in numbers")
    rates = {"H100": 7500, "H200": 10100}
    rows = []
    for number, device in ((1, "H100"), (8, "H100"), (16, "H100"), (1, "H200"), (8, "H200")):
        hours = 90 * IMAGENET / (number * rates[device]) / 3600
        whole = [f"{hours:.1f} h", ""] if number == 1 else [f"{60 * hours:.0f} min", f"{60 * hours / 0.9:.0f} min"]
        rows.append([f"{number} {device}", *whole])
    section.table(rows)
    section.says(f"N = {IMAGENET:,} training images", f"has {PARAMETERS:,} parameters")
    section.conditions(
        "| 90 epochs of", "e = 1 | e = 0.9", "50,000 for validation", "E 50,000 / (3 n r e)", "7,500 images/s on an H100 at 3.0 TB/s, 10,100 on an H200 at 4.3 TB/s",
    )  # fmt: skip
    section.done()


def test_images() -> None:
    section = Section("scale", "Images")
    large, small = (3 * side**2 for side in (224, 160))
    section.table(
        [
            [None, f"{large:,}", f"{small:,}"],
            [None, f"{IMAGENET * large / 1e9:.0f} GB", f"{IMAGENET * small / 1e9:.0f} GB"],
            [None, f"{7500 * large / 1e9:.1f} GB/s", ""],
            [None, f"{8 * 7500 * large / 1e9:.1f} GB/s", ""],
        ]
    )
    section.says(f"A disk of 3 GB/s by itself feeds {round(3e9 / large, -3):,.0f} images/s")
    section.conditions("from 256 GB on", "side x side x 3 bytes", "ceiling for 224")
    section.done()


def test_disk() -> None:
    """Weights are four bytes a parameter; momentum doubles them, Adam's two moments make three."""
    section = Section("scale", "Disk")
    size = 4 * PARAMETERS / 1e6
    section.table(
        [
            [None, f"{size:.0f} MB each"], [None, f"{2 * size:.0f} MB"], [None, f"{3 * size:.0f} MB"],
            [None, f"{size:.0f} MB more"],
        ]
    )  # fmt: skip
    section.done()


def test_metadata() -> None:
    section = Section("scale", "Metadata")
    found = stored("2026-11-30-cpu-million-images")
    setting, starts, few = found["setting"], found["starts from the cache"], found["starts from the cache, few images"]

    def seconds(step: str) -> float:
        return median(start["steps"][step]["processor_seconds"] for start in starts)

    more = (setting["images"] - setting["few"]) / 2**20
    peak = (median(start["peak_mib"] for start in starts) - median(start["peak_mib"] for start in few)) / more
    whole, fixed = (median(start["processor_seconds"] for start in each) for each in (starts, few))
    section.table(
        [
            [None, f"{median(found['resident bytes per image']):.0f} bytes"],
            [None, f"{peak:.0f} bytes"],
            [
                f"cached start of a training up to its first batch, n = {len(starts)}",
                f"{whole:.1f} s of processor time",
            ],
            [f"- imports, network and everything else that {setting['few']:,} images need too", f"{fixed:.1f} s"],
            [f"- listing {setting['classes']:,} folders", f"{seconds('listing'):.1f} s"],
            [None, f"{seconds('stamps'):.1f} s"],
            [None, f"{seconds('records of the cache, or decoding'):.1f} s"],
            [None, f"{seconds('check of copies'):.1f} s"],
            [None, f"{seconds('split'):.1f} s"],
            [None, f"{seconds('fingerprint and record'):.1f}; {seconds('splits.csv'):.1f} s"],
            [None, f"{found['first start, which decodes']['seconds']:.0f} s"],
            [None, None],
            [None, None],
        ]
    )
    busy = sorted(start["seconds"] for start in starts)
    near = stored("2026-11-29-cpu-near-copies")["time"]["searching"]
    (turns,) = (value for name, value in near.items() if name.startswith("in turns"))
    search = median(turn[0][0] for turn in turns)
    section.says(
        f"{setting['images'] / 1e6:.1f} million JPEG files of {setting['side']} pixels",
        f"of {setting['bytes_per_name']:.1f} bytes each, in {setting['classes']:,} folders",
        f"took {busy[1]:.0f} and {busy[2]:.0f} s, the third, on free cores, {busy[0]:.1f} s",
        f"{near['pictures']:,} took {search:.1f} s",
        f"1.28 million would take {(1.28e6 / near['pictures']) ** 2 * search / 3600:.0f} hours",
    )
    section.says(f"{setting['images']:,} images |")
    section.unstored("468 bytes per image", "106 bytes per image")
    section.conditions("rows of 16 x 16 pixels", "(n = 1, wall time)")
    section.done()


def test_fourteen_million_images() -> None:
    section = Section("scale", "Fourteen million images")
    near = stored("2026-11-29-cpu-near-copies")["time"]["searching"]
    (turns,) = (value for name, value in near.items() if name.startswith("in turns"))
    days = (IMAGES / near["pictures"]) ** 2 * median(turn[0][0] for turn in turns) / 86_400
    section.table(
        [
            [None, "x 74 bytes", f"{IMAGES * 74 / 1e9:.2f} GB"],
            [None, "x 386 bytes", f"{IMAGES * 386 / 1e9:.1f} GB"],
            ["the same for 8 processes on one machine", "x 8", f"{8 * IMAGES * 386 / 1e9:.0f} GB"],
            [None, "3.4 s + images x 11.6 µs", f"{3.4 + IMAGES * 11.6e-6:.0f} s of processor time"],
            ["decoded images at 224 pixels", f"x {3 * 224**2:,} bytes", f"{IMAGES * 3 * 224**2 / 1e12:.2f} TB"],
            [
                "index, with signatures of 1,368 characters",
                f"x {468 + 1368:,} bytes",
                f"{IMAGES * (468 + 1368) / 1e9:.0f} GB",
            ],
            [None, "x 106 bytes", f"{IMAGES * 106 / 1e9:.1f} GB"],
            [None, "x 53 bytes", f"{IMAGES * 53 / 1e9:.2f} GB, of at most 2.15 GB"],
            [None, "8 shards x 1,000 x 8 bytes", f"{8 * 1000 * 8 // 1000} kB"],
        ]
    )
    section.says(f"{IMAGES:,} images", f"the search would take {days:.0f} days")
    section.conditions(
        "21,841 classes", "holds neither 14 million", "nor 2 TB", "8 processes take 8 times", "in shards of 1,000"
    )
    section.done()


def test_gradients() -> None:
    section = Section("scale", "Gradients")
    gradients = PARAMETERS * 4 / 1e6
    section.table(
        [
            processes, f"{2 * (processes - 1) / processes * gradients:.0f} MB",
            f"{2 * (processes - 1) / processes * gradients / 450:.1f} ms",
            f"{2 * (processes - 1) / processes * gradients / 12.5:.0f} ms",
        ]
        for processes in (2, 8, 16)
    )  # fmt: skip
    section.says(
        f"{PARAMETERS:,} x 4 bytes = {gradients:.0f} MB",
        f"256 images per GPU take {256 / 7500 * 1000:.0f} ms at 7,500 images/s",
    )
    section.conditions("2 (n - 1) / n times", "each of the 53 norms", "450 GB/s", "12.5 GB/s (100 Gbit/s")
    section.unstored("102 MB in 0.27 s (quartiles 0.18 to 0.33, n = 15)", "0.27 ms (0.24 to 0.33, n = 300)")
    section.done()
