"""Interfaces through which long work reports its progress."""


class Watcher:
    """Is notified of the progress of long work; this one ignores it."""

    def begin(self, what: str, total: int, done: int = 0) -> None:
        """A phase of `total` small steps begins, or continues after those `done`."""

    def advance(self) -> None:
        """One of them is done; may be called from several threads."""

    def say(self, text: str) -> None:
        """Something a user should know."""


SILENT = Watcher()
