import pytest

from resnet_lab.core.errors import DataError
from resnet_lab.data.sources.named import Named


@pytest.mark.parametrize(
    ("text", "name", "parameters"),
    [
        ("CIFAR10", "CIFAR10", {}),
        ("user/set-1.0", "user/set-1.0", {}),
        ("EMNIST(split=letters)", "EMNIST", {"split": "letters"}),
        ("DTD(root='a (b)/c', partition=3, small=true)", "DTD", {"root": "a (b)/c", "partition": 3, "small": True}),
    ],
)
def test_names_with_parameters(text: str, name: str, parameters: dict[str, object]) -> None:
    named = Named.parse("torchvision", text)
    assert (named.library, named.name, named.parameters) == ("torchvision", name, parameters)
    assert Named.parse("torchvision", str(named).removeprefix("torchvision:")) == named


def test_written_with_parameters_in_order() -> None:
    named = Named.parse("hf", "user/set(label=fine)").having(image="a b")
    assert str(named) == "hf:user/set(image='a b', label=fine)"


@pytest.mark.parametrize("text", ["", "(a=1)", "X(a/b)", "X(root=a/b)", "X(1)", "X(a=1", "X(a=1)y", "X(a=f(1))"])
def test_what_is_not_of_the_form(text: str) -> None:
    with pytest.raises(DataError) as failure:
        Named.parse("hf", text)
    assert str(failure.value) == (
        f"hf:{text} is not of the form hf:NAME or hf:NAME(key=value, ...); quote a path as a value"
    )


def test_unknown_parameters() -> None:
    with pytest.raises(DataError) as failure:
        Named.parse("hf", "x(labels=a)").require_known({"label", "image"})
    assert str(failure.value) == "hf:x(labels=a): no parameter 'labels'; did you mean 'label'?"
