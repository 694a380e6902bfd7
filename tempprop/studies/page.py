"""`defaults.md`: what the studies measured, as a page. Nobody types a figure into it."""

from pathlib import Path

from tempprop.studies.drift_page import drift_section
from tempprop.studies.results import drift_file, read_study, sweep_file
from tempprop.studies.sweep_page import sweep_section
from tempprop.whole_files import write_whole

OPENING = """\
# The defaults of the propagation

The commands named below wrote this page, from what they measured on the embedded model; the figures
of every clip are in [`measurements/`](measurements). Other models respond differently: take the
directions from here, and run your own clips for the amounts."""


def write_page(out: Path) -> None:
    """Write the page from every study that has been measured.

    Args:
        out: Directory of the page, with the studies' files below it.
    """
    studies = ((sweep_file(out), sweep_section), (drift_file(out), drift_section))
    found = [(read_study(path), section) for path, section in studies]
    sections = [section(study) for study, section in found if study is not None and study.rows]
    write_whole(out / "defaults.md", "\n\n".join([OPENING, *sections]) + "\n")
