"""Child processes that are recorded and not started."""

from collections.abc import Mapping, Sequence


def recorded(calls: list[tuple[Sequence[str], Mapping[str, str]]]) -> type:
    """A stand-in for `Child` that has ended well; command and environment of each go to `calls`."""

    class Recorded:
        is_running = False

        def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
            calls.append((command, environment))

        def stop(self) -> None: ...

        def ended(self) -> tuple[int, str]:
            return 0, ""

        def stderr(self) -> str:
            return ""

    return Recorded
