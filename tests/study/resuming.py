"""Studies that are resumed in processes of their own, forked from one that has the imports."""

from multiprocessing.process import BaseProcess
from pathlib import Path

from resnet_lab.study.trials import StudyFolder
from tests.train.killed import CONTEXT


def resume(folder: Path) -> None:
    """Resume on one thread, since sums of several are rounded otherwise."""
    import torch

    from resnet_lab.cli import main

    torch.set_num_threads(1)
    main(["study", "run", "--quiet", "--no-bench", "--resume", str(folder)])


def resuming(folder: StudyFolder) -> BaseProcess:
    """A process that resumes the study."""
    process = CONTEXT.Process(target=resume, args=(folder.folder,))
    process.start()
    return process


def resumed(*folders: StudyFolder) -> list[int | None]:
    """Exit codes of processes that resume the studies at once."""
    processes = [resuming(folder) for folder in folders]
    for process in processes:
        process.join()
    return [process.exitcode for process in processes]
