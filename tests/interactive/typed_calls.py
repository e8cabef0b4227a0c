"""Calls of the functions that a type checker accepts and refuses: read by mypy, to which an ignored line is an error
where there is nothing to ignore.
"""

import resnet_lab


def calls() -> None:
    run: resnet_lab.Run = resnet_lab.train("digits", epochs=1)
    figures: dict[str, float] = run.metrics
    resnet_lab.train(depth="18")  # type: ignore[arg-type]
    _ = figures, resnet_lab.study().verdict  # type: ignore[attr-defined]
