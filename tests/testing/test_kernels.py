import pytest
import torch
from torch import Tensor, nn

from resnet_lab.network.plugins import Kernels, Owner, load
from resnet_lab.testing import Report, check_kernels


class Fast(nn.BatchNorm2d):
    """A norm that does what its class does."""

    @staticmethod
    def suits(module: nn.Module) -> bool:
        return True


class Unsuited(Fast):
    @staticmethod
    def suits(module: nn.Module) -> bool:
        return False


class Inexact(Fast):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * (1 + 1e-6)


class Wrong(Fast):
    def _save_to_state_dict(self, destination: dict[str, Tensor], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[f"{prefix}scale"] = self.weight.detach()


class Broken(Fast):
    def forward(self, x: Tensor) -> Tensor:
        raise OSError("no kernel here")


def checked(kernels: type[nn.Module]) -> Report:
    return check_kernels(Kernels(nn.BatchNorm2d, kernels, Owner("lab-fast", "1.0")), registry=load(only=()))


def test_kernels_that_do_what_their_class_does() -> None:
    seen = []
    offer = Kernels(nn.BatchNorm2d, Fast, Owner("lab-fast", "1.0"))
    report = check_kernels(offer, registry=load(only=()), on_result=seen.append)
    assert (report.kind, report.component, report.source) == ("kernels", "Fast", "lab-fast 1.0")
    assert seen == list(report.results)
    assert report.passed
    assert [result.check for result in seen] == ["names", "elsewhere", "cuda"]
    assert report.of("elsewhere").status == "passed"
    assert "basic with depthwise (6 modules)" in report.of("names").text


def test_kernels_that_suit_nothing() -> None:
    report = checked(Unsuited)
    assert {result.status for result in report.results} == {"skipped"}
    assert report.results[0].text == "they suit no module of small networks here"


@pytest.mark.parametrize(
    ("kernels", "check", "text"),
    [
        (Inexact, "elsewhere", "the processor gives something else with than without"),
        (Wrong, "names", "loading weights raises RuntimeError: "),
        (Broken, "elsewhere", "raises OSError: no kernel here"),
    ],
)
def test_breaches(kernels: type[nn.Module], check: str, text: str) -> None:
    report = checked(kernels)
    assert report.failures[0].check == check
    assert report.of(check).text.startswith(text)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_on_cuda() -> None:
    assert checked(Fast).of("cuda").status == "passed"
    assert checked(Inexact).of("cuda").status == "passed"


class Raising(Fast):
    @staticmethod
    def suits(module: nn.Module) -> bool:
        raise SystemExit(0)


class Vague(Fast):
    @staticmethod
    def suits(module: nn.Module) -> bool:
        return "no"  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("kernels", "problem"),
    [
        (Raising, "kernels Raising: suits raises SystemExit: 0; mend it, or use --no-plugin"),
        (Vague, "kernels Vague: suits gives str, and must give True or False"),
    ],
)
def test_kernels_that_do_not_say_what_they_suit(kernels: type[nn.Module], problem: str) -> None:
    report = checked(kernels)
    assert not report.passed
    assert [(each.check, each.text) for each in report.results] == [("suits", f"lab-fast 1.0: {problem}")]
