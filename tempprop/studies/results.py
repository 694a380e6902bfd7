"""What the studies measured, as files that a command continues from and the page is made of."""

from pathlib import Path

from pydantic import JsonValue

from tempprop.spec import Frozen
from tempprop.whole_files import write_whole

DRAWN_FILMS = "drawn films"
"""Name of the row of films that the world draws itself, for comparison."""

FEEDBACK = "image-to-image feedback"
"""Name of the row of clips each of whose frames is made of the picture before it."""

Curve = tuple[float, ...]
"""One value a frame."""


class Row(Frozen):
    """One choice of settings that was measured.

    Attributes:
        setting: What differs from the defaults, by its name or in words; empty for the defaults.
        value: What it is instead; where words name several settings, all of them by their names.
        key: Everything that the figures depend on, see `figures_key`.
        seconds: How long it took to render and to measure.
        clips: For each prompt its figures by name: numbers, or curves along the clip.
    """

    setting: str
    value: JsonValue
    key: str
    seconds: float
    clips: tuple[dict[str, float | Curve], ...]


class Study(Frozen):
    """What one command has measured.

    Attributes:
        command: How to measure it again.
        num_frames: Length of every clip.
        prompts: What the clips show.
        rows: The defaults first.
    """

    command: str
    num_frames: int
    prompts: tuple[str, ...]
    rows: tuple[Row, ...] = ()


def sweep_file(out: Path) -> Path:
    """Where the sweep keeps its figures."""
    return out / "measurements" / "sweep.json"


def drift_file(out: Path) -> Path:
    """Where the study of long clips keeps its figures."""
    return out / "measurements" / "drift.json"


def read_study(path: Path) -> Study | None:
    """Read what was measured before; None where nothing was.

    Raises:
        ValidationError: The file holds something else.
    """
    return Study.model_validate_json(path.read_text()) if path.exists() else None


def write_study(study: Study, path: Path) -> None:
    """Write what was measured; a file that is there is replaced as a whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, study.model_dump_json() + "\n")
