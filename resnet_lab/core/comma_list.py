"""Comma-separated lists of options, recipes and environment variables."""


def comma_list(text: str) -> list[str]:
    """The parts of `none,cbam(reduction=8,norm=true),se@3,4`, without spaces around them.

    Commas part neither what is in brackets nor the stages after `@`. An empty part stays: the caller decides
    what it means.
    """
    parts, depth = [""], 0
    for letter in text:
        depth += (letter == "(") - (letter == ")")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    found: list[str] = []
    for part in (part.strip() for part in parts):
        if found and "@" in found[-1] and (part.isdigit() or part == "stem"):
            found[-1] += f",{part}"
        else:
            found.append(part)
    return found
