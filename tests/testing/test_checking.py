"""The kit on sound components, and on components that break one promise each."""

from pathlib import Path

import pytest

from resnet_lab.core.errors import PluginError, SpecError
from resnet_lab.network.kinds import KINDS, of_networks
from resnet_lab.network.plugins import load
from resnet_lab.testing import check
from resnet_lab.testing.checking import Checks, checks_of, under_test
from tests.bench.short import shorten
from tests.testing.broken import BROKEN, Gate

SLOW = dict.fromkeys(("cost", "onnx", "compile", "export"), "it takes seconds")


def test_a_sound_component_passes() -> None:
    report = check("attention", Gate, skip=SLOW)
    assert report.passed, str(report)
    assert report.of("parameters").text == "1 parameters"
    assert {result.check for result in report.results if result.status == "skipped"} - {"cuda"} == {*SLOW}


@pytest.mark.parametrize("name", [name for name, broken in BROKEN.items() if broken.check not in SLOW])
def test_a_broken_component_fails_the_right_check(name: str) -> None:
    broken = BROKEN[name]
    report = check(broken.kind, broken.factory, traits=broken.traits, skip=SLOW)
    assert [result.check for result in report.failures] == [broken.check], str(report)
    assert str(report.of(broken.check)).startswith(f"{broken.check}: failed: {broken.message}")


@pytest.mark.slow
@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_component_fails_no_slow_check_but_its_own(name: str) -> None:
    """The fast ones are asked for above; those that a failure would fail too are skipped, and say why."""
    broken = BROKEN[name]
    checks = Checks(under_test(broken.kind, broken.factory, traits=broken.traits), skip={"cost": ""})
    results = [checks.result(name) for name in SLOW]
    assert [result.check for result in results if result.status == "failed"] == [broken.check] * (broken.check in SLOW)
    assert str(checks.result(broken.check)).startswith(f"{broken.check}: failed: {broken.message}")


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, broken in BROKEN.items() if broken.check in SLOW])
def test_a_component_that_breaks_a_slow_check_fails_no_other(name: str) -> None:
    broken = BROKEN[name]
    report = check(broken.kind, broken.factory, traits=broken.traits, skip={"cost": ""})
    assert [result.check for result in report.failures] == [broken.check], str(report)


BUILT_IN = load(only=(), files=())


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "name"), sorted(BUILT_IN.entries))
def test_every_built_in_passes(kind: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if kind == "tracker":
        pytest.importorskip(name, reason=f"the package {name} is not installed")
    shorten(monkeypatch)
    report = check(kind, name, registry=BUILT_IN)
    assert report.passed, str(report)


@pytest.mark.slow
def test_the_cost_of_a_component() -> None:
    """Squeeze-and-excitation of 64 channels by 16: 64 x 4 + 4 + 4 x 64 + 64; of 32: 32 x 2 + 2 + 2 x 32 + 32."""
    report = check("attention", "se", registry=BUILT_IN, skip={"onnx": "", "compile": "", "export": ""})
    assert report.passed
    plain, own = 8_610_432, 8_610_432 + 2 * 64 * 4 + 2 * 32 * 2
    assert report.of("macs").text.startswith(
        f"{own:,} in a small network, {own / plain:.2f} times as many as with none"
    )
    text = report.of("cost").text
    assert text.startswith("times those of none in a small network: parameters 1.0")
    assert "time of infer " in text
    assert "time of train " in text


DATA = """
import numpy as np
from PIL import Image
from resnet_lab.plugin_api import ImageSet, hookimpl

SHAKY = np.random.default_rng(0)

def greys(*, count: int = 4) -> ImageSet:
    classes, paths, labels = ("dark", "light"), tuple(map(str, range(count))), np.arange(count) % 2
    read = lambda index: Image.new("L", (9, 5), 20 * index)
    {change}
    return ImageSet("greys", classes, paths, labels, read)

@hookimpl
def register_datasets(register):
    register("greys", greys)
"""

DATA_FAULTS = {
    "": None,
    "classes, labels = ('dark',), labels * 0": "classes: failed: 1 class is too few [greys]; hint: give two or more",
    "classes = ('dark', 'dark')": "classes: failed: 1 class is too few [greys]; hint: give two or more",
    "classes, labels = ('dark', 'light', 'dark'), np.arange(count) % 3": "classes: failed: class name 'dark' occurs 2 "
    "times [greys]; hint: name each once",
    "labels = labels.astype(float)": "labels: failed: labels are float64, shape (4,), expected int64, shape (4,) "
    "[greys]; hint: np.asarray(labels, dtype=np.int64)",
    "labels = labels + 1": "labels: failed: label 2 is no position in 2 classes [greys, image 1]; hint: a label counts "
    "from 0",
    "labels = labels * 0": "labels: failed: class 'light' has no image [greys]; hint: leave it out",
    "paths = ('0', '1', '1', '3')": "paths: failed: path '1' occurs 2 times [greys]; hint: give each image a text of "
    "its own",
    "read = lambda index: b'no image' if index == 3 else Image.new('L', (9, 5))": "decoding: failed: it cannot be "
    "decoded: not an image of a known format [greys, image 3 (3)]; hint: read(index) gives a whole image",
    "read = lambda index: Image.new('L', (9, 5), int(SHAKY.integers(256)))": "determinism: failed: read again it is "
    "another image [greys, image 0]; hint: draw with numpy.random.default_rng([seed, index]), so that an image depends "
    "on its number alone",
    "read = lambda index: Image.new('L', (9, 5), 0 * np.random.randint(9))": "determinism: failed: it draws from a "
    "global generator of random numbers [greys]; hint: draw with numpy.random.default_rng([seed, index]), so that an "
    "image depends on its number alone",
}


@pytest.mark.parametrize("change", DATA_FAULTS)
def test_data_sets(tmp_path: Path, change: str) -> None:
    file = tmp_path / "greys.py"
    file.write_text(DATA.replace("{change}", change or "pass"))
    report = check("dataset", "greys", registry=load(only=(), files=[file]))
    expected = DATA_FAULTS[change]
    assert [str(result) for result in report.failures] == ([] if expected is None else [expected])
    assert report.source.startswith("greys.py (file) ")


TRACKER = """
import random
from resnet_lab.plugin_api import Tracker, hookimpl

class Lines(Tracker):
    def __init__(self, *, file: str = "lines.txt"):
        self.file = file

    def on_run_start(self, run):
        START
        return run.id or "one"

    def on_epoch(self, epoch, metrics):
        EPOCH
        with open(self.file, "a") as file:
            file.write(f"{epoch} {metrics['val_loss']}\\n")

    def on_finish(self, end):
        pass

@hookimpl
def register_trackers(register):
    register("lines", FACTORY)
"""

TRACKER_FAULTS: dict[tuple[str, str], str | None] = {
    ("START", "pass"): None,
    ("FACTORY", "lambda: 3"): "course: failed: the factory gave int, not a Tracker [lines]; hint: derive it from "
    "resnet_lab.plugin_api.Tracker",
    ("START", "return 5"): "course: failed: on_run_start gave int [lines, epochs 1 to 3]; hint: return a text, or None",
    ("EPOCH", "raise OSError('no disk')"): "course: failed: on_epoch raises OSError: no disk [lines, epochs 1 to 3]",
    ("START", "return 'one' if run.id is None else 'two'"): "resumption: failed: resumed, it gave another id [lines]; "
    "hint: return run.id where its run was found",
    (
        "START",
        "assert run.id in (None, 'one')",
    ): "resumption: failed: on_run_start raises AssertionError [lines, epochs 1 to 3]",
    ("START", "run.config.clear()"): "config_kept: failed: it modifies the configuration [lines]; hint: copy what you "
    "change",
    ("EPOCH", "random.random()"): "randomness: failed: it draws from a global generator of random numbers [lines]; "
    "hint: draw from a generator of your own, or from `secrets`",
}


@pytest.mark.parametrize(("place", "change"), TRACKER_FAULTS)
def test_trackers(tmp_path: Path, place: str, change: str) -> None:
    file, text = tmp_path / "lines.py", TRACKER
    for name, usual in {"START": "pass", "EPOCH": "pass", "FACTORY": "Lines"}.items():
        text = text.replace(name, change if name == place else usual)
    file.write_text(text)
    report = check("tracker", "lines", registry=load(only=(), files=[file]))
    expected = TRACKER_FAULTS[place, change]
    assert [str(result) for result in report.failures] == ([] if expected is None else [expected])


def test_errors() -> None:
    def refusal(*arguments: object, **more: object) -> str:
        with pytest.raises((PluginError, SpecError)) as caught:
            check(*arguments, registry=BUILT_IN, **more)
        return str(caught.value)

    assert (
        refusal("atention", "se")
        == "unknown kind 'atention' of component; did you mean 'attention' or 'activation' or 'dataset'?"
    )
    assert refusal("attention", "sse") == "check: unknown attention 'sse'; did you mean 'se'?"
    assert refusal("attention", "se(reduction=no)").startswith("check: attention se: parameter 'reduction': ")
    assert refusal("attention", lambda: None) == (
        "attention 'checked__lambda_': the factory is called with (channels), and too many positional arguments"
    )
    assert refusal("norm", "batch", skip={"elementwise": ""}).startswith(
        "there is no check 'elementwise' of norms; known: autocast, channels_last, "
    )


def test_each_check_has_a_description() -> None:
    for kind in KINDS:
        assert all(each.about.endswith((".", "`")) for each in checks_of(kind))


def test_which_checks_a_kind_gets_is_read_from_the_table() -> None:
    assert [kind.name for kind in of_networks() if kind.elementwise] == ["activation"]
    assert [kind.name for kind in of_networks() if kind.applies_parts] == ["block"]
    for kind in of_networks():
        names = {check.name for check in checks_of(kind.name)}
        asked = (kind.elementwise, kind.applies_parts, kind.input_kept, bool(kind.traits))
        assert tuple(name in names for name in ("elementwise", "parts", "input_kept", "traits")) == asked


def test_parameters_of_a_kind_are_checked_at_each_value() -> None:
    result = Checks(under_test("attention", "se"), {}).result("network")
    assert result.text == (
        "basic blocks, bottleneck blocks, basic blocks with position=inner, basic blocks with position=output"
    )
