import pytest

from resnet_lab.network.weights import Coverage
from resnet_lab.network.weights.coverage import Difference, Group, StageCoverage

COVERAGE = Coverage(
    source="w.pth",
    share=0.75,
    stages=(
        StageCoverage(
            stage="stem",
            loaded=Group(names=("bn1.weight", "bn1.running_mean"), parameters=30),
            new=Group(names=("conv1.weight",), parameters=10),
        ),
        StageCoverage(stage="fc", loaded=Group(names=("fc.bias",), parameters=5)),
    ),
    differences=(Difference(name="conv1.weight", weights=(2, 3, 7, 7), network=(2, 1, 7, 7)),),
    notes=("a note",),
    mean=(0.25, 0.5, 0.75),
)


def test_json_reads_back_to_an_equal_object() -> None:
    assert Coverage.model_validate_json(COVERAGE.to_json()) == COVERAGE
    assert Coverage.model_validate(COVERAGE.model_dump(mode="json")) == COVERAGE


def test_totals_are_sums_over_stages() -> None:
    assert COVERAGE.total("loaded") == Group(names=("bn1.weight", "bn1.running_mean", "fc.bias"), parameters=35)
    assert COVERAGE.total("new") == Group(names=("conv1.weight",), parameters=10)
    assert COVERAGE.total("unused") == Group()


def test_the_sentence() -> None:
    assert COVERAGE.sentence() == (
        "w.pth: 75.0% of the parameters outside the classifier loaded (tensors: 3 loaded, 1 new)"
    )


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (1.0, "100.0%"), (0.99951, "more than 99.9%"), (0.9994, "99.9%"), (0.1234, "12.3%"), (0.0006, "0.1%"),
        (0.0004, "less than 0.1%"),
    ],
)  # fmt: skip
def test_little_is_not_nothing_and_much_not_all(share: float, text: str) -> None:
    extent = COVERAGE.model_copy(update={"share": share}).extent
    assert extent == f"{text} of the parameters outside the classifier loaded"


def test_a_difference_in_words() -> None:
    assert str(COVERAGE.differences[0]) == (
        "conv1.weight is (2, 3, 7, 7) in the weights and (2, 1, 7, 7) in the network"
    )
