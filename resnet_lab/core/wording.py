"""Numbers with their nouns."""


def counted(number: int, singular: str, plural: str | None = None) -> str:
    """`1 image`, `8,446 images`."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"
