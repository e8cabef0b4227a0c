import pytest

from resnet_lab.core.errors import nearest


@pytest.mark.parametrize(
    ("name", "known", "end"),
    [
        ("cbm", ["se", "cbam"], "did you mean 'cbam'?"),
        ("resnet5", ["resnet50", "resnet56"], "did you mean 'resnet56' or 'resnet50'?"),
        ("zzz", ["se", "cbam"], "known: cbam, se"),
        ("zzz", [], "known: none"),
    ],
)
def test_nearest_names_or_else_all(name: str, known: list[str], end: str) -> None:
    assert nearest(name, known) == end
