"""A release as a user gets it: sdist and wheel are built, checked, and each installed and used in a fresh environment.

usage: python benchmarks/release.py FOLDER [--borrow]

pip's own settings say what is installed: PIP_CONSTRAINT names a file that takes torch's CPU build, say. With --borrow
nothing but the package is: the rest are the packages of this Python.
"""

import argparse
import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
from pathlib import Path
from zipfile import ZipFile

ROOT = Path(__file__).parents[1]
SUFFIXES = {".css", ".gz", ".j2", ".js", ".pyi", ".toml", ".typed"}
"""Of files in the package that are no Python: styles, digits, templates, scripts, stubs, recipes, the typing marker."""


def run(*command: object, folder: Path) -> None:
    """Run a command in a folder outside of this process's PYTHONPATH; the check ends where it fails."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    print("$", *command, flush=True)
    subprocess.run([str(word) for word in command], cwd=folder, env=environment, check=True)


def tracked() -> set[str]:
    """Files of the repository by their paths, as git has them."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return {name for name in listed.split("\0") if name and (ROOT / name).exists()}


def require_contents(wheel: Path, sdist: Path) -> None:
    """The wheel holds the package and the licence alone, the sdist all files of the repository."""
    files = tracked()
    package = {name for name in files if name.startswith("resnet_lab/")}
    with ZipFile(wheel) as archive:
        names = set(archive.namelist())
    inside = {name for name in names if ".dist-info/" not in name}
    assert inside == package, f"not in both the wheel and the package: {sorted(inside ^ package)}"
    assert {Path(name).suffix for name in inside} >= SUFFIXES
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    with tarfile.open(sdist) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}
    ours = {name for name in files if not name.startswith((".ci/", ".git"))}
    assert ours <= packed, f"not in the sdist: {sorted(ours - packed)}"


def use(artefact: Path, folder: Path, *, borrow: bool) -> None:
    """Install it in a new environment in `folder`, and train."""
    folder.mkdir()
    venv.create(folder / "venv", with_pip=True, symlinks=os.name != "nt")
    programs = folder / "venv" / ("Scripts" if os.name == "nt" else "bin")
    if borrow:
        (site,) = (folder / "venv").rglob("site-packages")
        (site / "borrowed.pth").write_text(sysconfig.get_path("purelib"))
        run(
            programs / "python",
            "-m",
            "pip",
            "install",
            "-q",
            "--no-deps",
            "--no-build-isolation",
            artefact,
            folder=folder,
        )
    else:
        run(programs / "python", "-m", "pip", "install", "-q", artefact, folder=folder)
    run(programs / "resnet-lab", "--help", folder=folder)
    run(programs / "resnet-lab", "train", "--epochs", 2, "--out", "run", folder=folder)
    run(programs / "resnet-lab", "report", "run", "--gallery", 2, folder=folder)
    run(programs / "python", "-c", "import resnet_lab; print(resnet_lab.__file__)", folder=folder)
    assert (folder / "run/report.html").stat().st_size > 10_000


def main() -> None:
    """Build, check, install and use."""
    parser = argparse.ArgumentParser(description="Check a release as a user gets it.")
    parser.add_argument("folder", type=Path, help="new folder for all of it")
    parser.add_argument("--borrow", action="store_true", help="take the other packages of this Python")
    options = parser.parse_args()
    folder = options.folder.resolve()
    folder.mkdir(parents=True)
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder / "dist", ROOT, folder=folder)
    (wheel,), (sdist,) = folder.glob("dist/*.whl"), folder.glob("dist/*.tar.gz")
    require_contents(wheel, sdist)
    run(sys.executable, "-m", "twine", "check", "--strict", wheel, sdist, folder=folder)
    for artefact in (wheel, sdist):
        use(artefact, folder / artefact.suffix.lstrip("."), borrow=options.borrow)


if __name__ == "__main__":
    main()
