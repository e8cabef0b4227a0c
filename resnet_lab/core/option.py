"""Fields of configurations that are options of the command line."""

from typing import Any

ARMS = "Arms"
DATA = "Data"
DESIGN = "Design"
LEARNING = "Optimisation"
MEASURING = "Measurement"
NETWORK = "Network"
OUTPUT = "Output"
SPEED = "Speed"
TRANSFER = "Pretrained weights"


def option(
    default: Any,
    description: str,
    panel: str | None = None,
    *,
    name: str | None = None,
    metavar: str | None = None,
    shown: str | None = None,
    formerly: str | None = None,
) -> Any:
    """A pydantic field with its description for the command line; a field without it is an option too, undocumented.

    Args:
        description: the option's help.
        panel: heading that help lists it under.
        name: where it is not the field's: `--data`, or `--channels-last/--channels-first` of a truth value.
        metavar: placeholder of the value in help, where it is neither its type nor its choices.
        shown: the default in help, where that is not the value: `by device`.
        formerly: an old name, which is refused with the new one.
    """
    from pydantic import Field  # here, since the command line needs the headings at once

    words = {"panel": panel, "name": name, "metavar": metavar, "shown": shown, "formerly": formerly}
    return Field(default, description=description, json_schema_extra={key: word for key, word in words.items() if word})
