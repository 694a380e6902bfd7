"""Every error that tempprop raises on purpose, as one tree.

    TempPropError
    ├── InputError            the caller gave something wrong: exit code 2, nothing was started
    │   ├── ManifestError     problems of a manifest, all of them
    │   ├── ConfigError       an unknown key, a value of the wrong type, a file that is not YAML
    │   ├── ModelError        a checkpoint that cannot be found, trusted or used
    │   ├── PictureError      a picture that cannot be found, read or used
    │   ├── StudyError        clips, a key or answers of which no blind study can be made or counted
    │   ├── ClipError         clips to evaluate that cannot be found, read or compared
    │   ├── JudgeError        a judge network that cannot be made ready or used
    │   │   └── JudgeMissingError
    │   └── StoreInputError   an output location that cannot be written: credentials, path, scheme
    ├── RenderError           a clip could not be rendered
    │   └── NonFiniteLatentsError
    ├── EncodeError           ffmpeg failed, or the file it wrote is not the clip
    │   ├── DiskFullError     there is no room for the file
    │   └── SigningError      the file could not be signed
    ├── StoreError            object storage failed after its deadline
    └── Interrupted           a person or a scheduler asked to stop

An `InputError` does not go away by trying again; the others may.
"""

from collections.abc import Sequence
from dataclasses import dataclass


class TempPropError(Exception):
    """Base of all errors that tempprop raises on purpose."""


class InputError(TempPropError):
    """Something that the caller gave is wrong; trying again does not help."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a manifest, and what to do about it.

    Attributes:
        message: What is wrong, in one line.
        remedy: What the author of the manifest can do, in one line.
        row: Number of the row, counted from 1 in its file; None where it is not about a row.
        column: Name of the column; None where it is not about a column.
        value: The offending value as text, shortened; None where there is none.
        file: Name of the file, where a manifest has several; None otherwise.
    """

    message: str
    remedy: str
    row: int | None = None
    column: str | None = None
    value: str | None = None
    file: str | None = None

    def __str__(self) -> str:
        where = [self.file] if self.file is not None else []
        where += [f"row {self.row}"] if self.row is not None else []
        where += [f"column {self.column!r}"] if self.column is not None else []
        value = f" (value: {self.value})" if self.value is not None else ""
        place = ", ".join(where)
        return f"{place + ': ' if place else ''}{self.message}{value}. {self.remedy}"


class ManifestError(InputError):
    """A manifest has problems; `problems` holds all of them, up to a limit.

    Args:
        source: Path or URI of the manifest.
        problems: At least one problem.
        omitted: How many further problems were found and only counted.
    """

    def __init__(self, source: str, problems: Sequence[Problem], omitted: int = 0) -> None:
        self.source = source
        self.problems = tuple(problems)
        self.omitted = omitted
        super().__init__(source, self.problems, omitted)

    def __str__(self) -> str:
        count = len(self.problems) + self.omitted
        lines = [f"{self.source}: {count:,} problem{'' if count == 1 else 's'}"]
        lines += [f"  {problem}" for problem in self.problems]
        lines += [f"  and {self.omitted:,} more"] if self.omitted else []
        return "\n".join(lines)


class ConfigError(InputError):
    """A configuration cannot be read, or has an unknown key or a bad value."""


class ModelError(InputError):
    """A model cannot be found, trusted or used as a text-to-image pipeline."""


class PictureError(InputError):
    """A picture that a clip starts from cannot be found, read or used.

    Args:
        picture: Its path or URI, without credentials.
        reason: What is wrong with it, as in "is a directory".
        remedy: What to do, without a period at the end.
    """

    def __init__(self, picture: str, reason: str, remedy: str) -> None:
        self.picture, self.reason, self.remedy = picture, reason, remedy
        super().__init__(picture, reason, remedy)

    def __str__(self) -> str:
        return f"the picture {self.picture!r} {self.reason}. {self.remedy}"


class StudyError(InputError):
    """A blind study cannot be made of these clips, or counted from these files."""


class ClipError(InputError):
    """Clips to evaluate cannot be found, read or compared."""


class JudgeError(InputError):
    """A network that judges clips cannot be made ready, or its weights are not what they were."""


class JudgeMissingError(JudgeError):
    """The weights of a network that judges clips are not on this machine."""


class StoreInputError(InputError):
    """The output location cannot be used as it was given: scheme, path, credentials, bucket."""


class RenderError(TempPropError):
    """A clip could not be rendered."""


class NonFiniteLatentsError(RenderError):
    """The latents of a frame hold NaN or infinity.

    Args:
        clip_id: The clip.
        frame: Number of the frame in the clip, from 0.
        step: Number of the denoising step, from 0.
    """

    def __init__(self, clip_id: str, frame: int, step: int) -> None:
        self.clip_id, self.frame, self.step = clip_id, frame, step
        super().__init__(clip_id, frame, step)

    def __str__(self) -> str:
        return (
            f"clip {self.clip_id!r}: the latents of frame {self.frame} are not finite at step "
            f"{self.step}. Half precision overflows with some checkpoints: "
            "try dtype float32 or bfloat16, or a lower guidance_scale"
        )


class EncodeError(TempPropError):
    """The encoder failed, or the file that it wrote is not the clip that went in."""


class DiskFullError(EncodeError):
    """There is no room for the media file, which is no fault of the clip."""


class SigningError(EncodeError):
    """A media file could not be signed."""


class StoreError(TempPropError):
    """Object storage did not do its part before the deadline."""


class Interrupted(TempPropError):  # noqa: N818 - it is a request, not an error
    """Rendering was asked to stop before the clip was finished."""


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error means that memory ran out, on the GPU or beside it."""
    # By its name: whoever asks need not have PyTorch, which takes seconds to import.
    on_gpu = any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__)
    # PyTorch has a class of its own for the GPU alone.
    beside_it = isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    return isinstance(error, MemoryError) or on_gpu or beside_it
