"""Many seeds are those that one by one gives."""

from resnet_lab.core.seeds import named_seed, named_seeds


def test_many_seeds_are_those_of_each() -> None:
    names = ["", "a", "ü", *(f"split of {number:064x}" for number in range(50))]
    found = named_seeds(7, (name.encode() for name in names))
    assert found.tolist() == [named_seed(7, name) for name in names]
    assert (found / 2**63).tolist() == [named_seed(7, name) / 2**63 for name in names]
    assert named_seeds(7, []).tolist() == []
