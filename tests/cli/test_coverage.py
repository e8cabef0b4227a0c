import pytest

from resnet_lab.cli.coverage import print_coverage
from resnet_lab.network.weights import Coverage
from resnet_lab.network.weights.coverage import Group, StageCoverage


def group(parameters: int, *names: str) -> Group:
    return Group(names=names, parameters=parameters)


COVERAGE = Coverage(
    source="[bold]w.pth",
    share=0.5,
    stages=(
        StageCoverage(
            stage="stem",
            loaded=group(128, "bn1.bias", "bn1.weight"),
            shape_differs=group(3136, "conv1.weight"),
        ),
        StageCoverage(
            stage="layer1",
            loaded=group(1_000_000, "layer1.0.conv1.weight"),
            new=group(70, "a", "b", "c", "d"),
            unused=group(0, "layer1.0.bn1.running_mean"),
        ),
        StageCoverage(stage="fc", replaced=group(20_490, "fc.bias", "fc.weight")),
        StageCoverage(stage="elsewhere", unused=group(12, "head\x1b[31m")),
    ),
    notes=("the weights are for images of 3 channels and the network for 1, so conv1.weight keeps [its] values",),
)


def test_the_table_and_what_is_below_it(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    print_coverage(COVERAGE)
    out, err = capsys.readouterr()
    assert err == ""
    lines = [" ".join(line.split()) for line in out.splitlines() if line.strip()]
    assert lines == [
        "weights: [bold]w.pth",
        "stage loaded replaced new shape differs unused",
        lines[2],
        "stem 128 3,136",
        "layer1 1,000,000 70 0",
        "fc 20,490",
        "elsewhere 12",
        "total 1,000,128 20,490 70 3,136 12",
        "50.0% of the parameters outside the classifier loaded",
        "replaced: 2 tensors: fc.bias, fc.weight",
        "new: 4 tensors: a, b, c, ...",
        "shape differs: 1 tensor: conv1.weight",
        "unused: 2 tensors: layer1.0.bn1.running_mean, head\\x1b[31m",
        "note: the weights are for images of 3 channels and the network for 1, so conv1.weight keeps [its] values",
    ]


def test_figures_are_under_their_headings(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    print_coverage(COVERAGE)
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line.strip()}
    for row, figure, heading in (("stem", "3,136", "differs"), ("layer1", "70", "new"), ("fc", "20,490", "replaced")):
        assert lines[row].index(figure) + len(figure) == lines["stage"].index(heading) + len(heading)


def test_a_whole_network_has_one_column(capsys: pytest.CaptureFixture[str]) -> None:
    whole = Coverage(source="w", share=1.0, stages=(StageCoverage(stage="stem", loaded=group(5, "conv1.weight")),))
    print_coverage(whole)
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert lines[1] == "stage loaded"
    assert lines[-1] == "100.0% of the parameters outside the classifier loaded"
