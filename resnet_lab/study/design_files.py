"""Files that hold a study's design: TOML files, the program's own studies, study.json and search.json."""

from os.path import exists
from pathlib import Path
from typing import Any

from resnet_lab.core.errors import ConfigError, ResNetLabError, nearest
from resnet_lab.core.records import (
    SMALL,
    Malformed,
    OpenRecord,
    RecordedFile,
    parse_toml,
    read_bytes,
    read_json,
    repr_of,
    validated,
)

FORMAT = 1
"""Format of study.json, search.json and outcomes of trials."""

REMEDY = "restore the file"

_SHIPPED = Path(__file__).parent / "shipped"


def shipped() -> dict[str, Path]:
    """Files of the program's own studies, by name."""
    return {path.stem: path for path in sorted(_SHIPPED.glob("*.toml"), key=lambda path: path.stem)}


class Noted(OpenRecord):
    """study.json and search.json."""

    tables: dict[str, Any]
    plugin_files: list[RecordedFile] | None = None
    bench: bool | None = None
    declared: dict[str, Any] | None = None
    design_hash: str | None = None


def read_noted(path: Path, error: type[ResNetLabError]) -> dict[str, Any]:
    """Read a folder's study or search; raises `error` where it is damaged, or of a newer format."""
    content = read_json(path, error, most=SMALL, remedy=REMEDY)
    require_format(content, path, error, REMEDY)
    validated(Noted, content, f"{path}: damaged", error, REMEDY)
    return dict(content)


def require_format(content: object, path: Path, error: type[ResNetLabError], remedy: str) -> None:
    """Raise `error` where a file's content is of another format than `FORMAT`, which is that of content without one."""
    version = content.get("format", FORMAT) if isinstance(content, dict) else FORMAT
    if isinstance(version, int) and version > FORMAT:
        raise error(f"{path}: format {version} is newer than this resnet-lab reads ({FORMAT}); upgrade resnet-lab")
    if version != FORMAT:
        raise error(f"{path}: damaged: format should be {FORMAT}, got {repr_of(version)}; {remedy}")


def read_tables(path: Path) -> dict[str, Any]:
    """The tables of a TOML file, or of one of the program's own studies by its name.

    Raises:
        ConfigError: the file cannot be read, or is not TOML.
    """
    own = shipped()
    if str(path) in own:
        path = own[str(path)]
    elif path.suffix != ".toml" and not exists(path):
        raise ConfigError(f"{path}: no such file, and no study of that name; {nearest(str(path), own)}")
    try:
        return parse_toml(read_bytes(path, SMALL, ConfigError))
    except Malformed as error:
        raise ConfigError(f"{path}: {error}") from None
