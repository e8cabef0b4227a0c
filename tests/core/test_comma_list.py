"""Lists as they are written."""

import pytest

from resnet_lab.core.comma_list import comma_list


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("relu,gelu", ["relu", "gelu"]),
        ("none, cbam(reduction=8,norm=true) ,se", ["none", "cbam(reduction=8,norm=true)", "se"]),
        ("none,cbam@3,4,se@1,stem,eca", ["none", "cbam@3,4", "se@1,stem", "eca"]),
        ("cbam", ["cbam"]),
        ("", [""]),
        ("1e-4, 1e-1,log", ["1e-4", "1e-1", "log"]),
        ("stem,layer1,3-4", ["stem", "layer1", "3-4"]),
        (" jitter(hue=0.1, contrast=0) , flip", ["jitter(hue=0.1, contrast=0)", "flip"]),
        ("flip,,", ["flip", "", ""]),
        ("crop(scale=0.5", ["crop(scale=0.5"]),
    ],
)
def test_lists(text: str, parts: list[str]) -> None:
    assert comma_list(text) == parts
