"""A study's page while its trials run."""

from collections.abc import Callable
from pathlib import Path
from time import sleep

from resnet_lab.cli import output
from resnet_lab.core.files import write_atomically
from resnet_lab.core.wording import counted
from resnet_lab.report.study_building import make_study_report
from resnet_lab.study.costs import being_measured
from resnet_lab.study.report_contents import StudyContents
from resnet_lab.study.trials import NoResultsError, StudyFolder


def followed(read: Callable[[], StudyContents], folder: StudyFolder, page: Path, seconds: int) -> StudyContents:
    """The contents of a study's page once no trial is missing and no costs are to come.

    Until then the page is rewritten as trials finish, and loads itself again; one that Ctrl-C leaves behind does not.

    Args:
        seconds: between two looks at the trials.

    Raises:
        NoResultsError: all trials failed.
        KeyboardInterrupt: Ctrl-C.
    """
    contents: StudyContents | None = None
    seen: frozenset[tuple[str, int]] | None = None
    waiting = finished_before = False
    try:
        while True:
            if (stamps := folder.stamps()) != seen:
                seen = stamps
                try:
                    contents = read()
                except NoResultsError as error:
                    if error.is_final:
                        raise
                    if not waiting:
                        output.remark(f"waiting for a first result: {error}")
                    waiting = True
                else:
                    if _is_complete(contents):
                        return contents
                    _write(contents, page, seconds)
            if contents is not None and finished_before and not being_measured(folder):
                return contents
            finished_before = contents is not None and not contents.found.missing
            sleep(seconds)
    except KeyboardInterrupt:
        if contents is not None:
            write_atomically(page, make_study_report(contents).html.encode())
        raise


def _is_complete(contents: StudyContents) -> bool:
    return not contents.found.missing and contents.found.costs is not None


def _write(contents: StudyContents, page: Path, seconds: int) -> None:
    write_atomically(page, make_study_report(contents, seconds).html.encode())
    planned, missing = contents.found.planned, len(contents.found.missing)
    output.remark(f"{planned - missing:,} of {counted(planned, 'trial')} done: {page}")
