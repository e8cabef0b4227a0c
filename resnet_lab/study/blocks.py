"""Choice of a study's test parts: disjoint folds of the images, or parts that are drawn anew for each seed."""

from collections.abc import Callable

import numpy as np

from resnet_lab.core.errors import ConfigError, printable
from resnet_lab.core.images import ImageSet
from resnet_lab.study.design import Study, study_from
from resnet_lab.study.plan import Blocks


def with_blocks(
    study: Study,
    images: ImageSet,
    before: Study | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Study:
    """The study with its test parts chosen, where its design leaves that open.

    Folds are the default where the program makes the split and each class has an image for every fold: no two seeds
    test the same image.

    Args:
        before: the design that the study's folder has already, whose choice is kept.
        say: is passed a remark where a class is too small for the default.

    Raises:
        ConfigError: folds are asked for, and the images do not allow them.
    """
    plan = study.plan
    if plan.blocks is None and before is not None:
        return _chosen(study, before.plan.blocks or "random", before.folds)
    if plan.blocks == "random":
        return study
    if plan.blocks is None and (own_split(study) or has_own_parts(images)):
        return _chosen(study, "random")
    folded = study if plan.blocks == "folds" else _chosen(study, "folds")
    problem = _problem(images, folded.folds or plan.default_folds)
    if problem is None:
        return folded
    if plan.blocks == "folds":
        raise ConfigError(f"{images.name}: blocks cannot be 'folds': {problem}; give --blocks random")
    say(f"each seed draws its own test part, rather than a fold that no other seed tests: {problem}")
    return _chosen(study, "random")


def own_split(study: Study) -> bool:
    """Whether a design says itself how images are split, or has one split for all seeds."""
    return "split" not in study.plan.vary or any(
        arm.data.split_file is not None
        or arm.data.fold
        or arm.data.folds != study.arms[0].data.folds
        or arm.train.split_seed is not None
        for arm in study.arms
    )


def has_own_parts(images: ImageSet) -> bool:
    """Whether the source assigns parts."""
    return images.parts is not None and any(images.parts)


def _problem(images: ImageSet, folds: int) -> str | None:
    """Why images cannot be in so many folds; None where they can."""
    if has_own_parts(images):
        return "the source assigns the parts of its images itself"
    sizes = np.bincount(images.labels, minlength=len(images.classes))
    smallest = int(sizes.argmin())
    if sizes[smallest] >= folds:
        return None
    return (
        f"class {printable(images.classes[smallest])!r} has {sizes[smallest]} images, fewer than {folds} folds need "
        "(--folds takes another number)"
    )


def _chosen(study: Study, blocks: Blocks, folds: int | None = None) -> Study:
    tables = {**study.tables, "study": {**study.tables.get("study", {}), "blocks": blocks}}
    if folds is not None:
        tables["data"] = {"folds": folds, **study.tables.get("data", {})}
    return study_from(tables, study.plan.name)
