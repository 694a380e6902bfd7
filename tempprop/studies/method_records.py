"""What a method was asked for and what it cost, as a file beside its clips."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import JsonValue, ValidationError

from tempprop.errors import InputError
from tempprop.spec import ClipSettings, Frozen, ModelIdentity
from tempprop.whole_files import write_whole


class MethodRecord(Frozen):
    """What a method was asked for, and what it cost so far.

    Attributes:
        method: Its name.
        what: What it does, in one line.
        settings: What it was asked for beside `common`.
        common: What the clips of all methods have in common, where the method does not change it.
        model: The weights.
        dtype: Precision of denoising.
        versions: Versions of the libraries that shape pixels.
        device: Name of the device that denoised.
        threads: Threads of PyTorch beside a GPU.
        frames_per_batch: Frames that were denoised together.
        num_frames: Frames that were made.
        seconds: Time of making them, with decoding and without writing.
        frames_per_second: How fast that was.
        peak_memory_bytes: The most that tensors took on a GPU, or that the whole process took on
            the CPU.
    """

    method: str
    what: str
    settings: Mapping[str, JsonValue]
    common: ClipSettings
    model: ModelIdentity
    dtype: str
    versions: Mapping[str, str]
    device: str
    threads: int
    frames_per_batch: int
    num_frames: int = 0
    seconds: float = 0.0
    frames_per_second: float = 0.0
    peak_memory_bytes: int = 0

    def after(self, num_frames: int, seconds: float, peak_memory_bytes: int) -> "MethodRecord":
        """Add what further clips cost."""
        frames, time = self.num_frames + num_frames, self.seconds + seconds
        return self.model_copy(
            update={
                "num_frames": frames,
                "seconds": round(time, 3),
                "frames_per_second": round(frames / time, 3) if time > 0 else 0.0,
                "peak_memory_bytes": max(self.peak_memory_bytes, peak_memory_bytes),
            }
        )


MUST_AGREE = ("settings", "common", "model", "dtype")
"""Fields that shape pixels: clips that differ in them do not belong together."""


def continued(path: Path, fresh: MethodRecord) -> MethodRecord:
    """Give the record to go on from: the one in a file, or a fresh one where there is none.

    Raises:
        InputError: The file is no record, or its clips were asked for differently.
    """
    return agreeing(path, fresh) if path.exists() else fresh


def agreeing(path: Path, expected: MethodRecord) -> MethodRecord:
    """Read the record of clips that were asked for as others were, whatever they cost.

    Raises:
        FileNotFoundError: There is none.
        InputError: The file is no record, or its clips were asked for differently.
    """
    try:
        found = MethodRecord.model_validate_json(path.read_text())
    except ValidationError as error:
        raise InputError(f"{path} is no record of a method. Give another directory") from error
    for field in MUST_AGREE:
        if getattr(found, field) != getattr(expected, field):
            raise InputError(
                f"the clips of {expected.method!r} in {path.parent} were made with another "
                f"{field}. Give another directory, or delete them together with the record"
            )
    return found


def write_record(record: MethodRecord, path: Path) -> None:
    """Write a record; a file that is there is replaced as a whole."""
    write_whole(path, record.model_dump_json(indent=2) + "\n")
