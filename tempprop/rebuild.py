"""A committed clip rendered again from its own record, and compared with what was committed.

A record holds what its key was made of: the spec, the digests of weights and picture, the encoder,
the precision and the scheduler. What it was rendered on is told beside it, since the same clip
comes out with other rounding on another device, with other libraries and in other batches.
"""

import math
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tempprop.dead_letters import config_of_run
from tempprop.encode import EncodedClip, encode_clip
from tempprop.errors import ClipError, InputError, StoreError
from tempprop.frames import FrameChunk
from tempprop.init_image import picture_digest
from tempprop.lineage import find_lineage
from tempprop.machine import processor, shaping_versions
from tempprop.media_frames import iter_frames
from tempprop.media_objects import digest_of, fetch_media
from tempprop.objects import Store
from tempprop.provenance.claim import claim_of
from tempprop.provenance.sealing import Seal
from tempprop.quality import Psnr, measure_psnr
from tempprop.spec import (
    RENDER_VERSION,
    ClipResult,
    ModelIdentity,
    RenderConfig,
    clip_key,
)
from tempprop.store import open_output, open_store
from tempprop.test_card import draw_test_card, identify_test_card, is_test_card
from tempprop.watermark import watermarked
from tempprop.whole_files import draft_of

WEIGHTS = "weights"


@dataclass(frozen=True)
class Difference:
    """Something that is not as it was when the clip was committed, and may shape its pixels.

    Attributes:
        what: Its name.
        committed: What it was.
        here: What it is.
    """

    what: str
    committed: str
    here: str


@dataclass(frozen=True)
class Rebuilt:
    """How a clip came out that was rendered again.

    Attributes:
        clip_id: Its name.
        key: Its key.
        num_frames: Its length.
        file: Where the rebuilt file is; None where it was not to be kept.
        same_bytes: Whether both files are equal.
        was_signed: Whether the committed file is signed, as a file that is rebuilt never is.
        takes: How many committed clips have the name, of which this was the newest.
        psnr: How close their frames are.
        differences: What is not as it was.
    """

    clip_id: str
    key: str
    num_frames: int
    file: str | None
    same_bytes: bool
    was_signed: bool
    takes: int
    psnr: Psnr
    differences: tuple[Difference, ...]

    @property
    def same_weights(self) -> bool:
        """Whether the weights were those that the clip was committed with."""
        return WEIGHTS not in {difference.what for difference in self.differences}

    def as_json(self) -> dict[str, Any]:
        """Give it as values of JSON, where an infinite PSNR, that of equal frames, is null."""
        decibels = {name: _finite(value) for name, value in asdict(self.psnr).items()}
        return {
            "clip_id": self.clip_id,
            "key": self.key,
            "num_frames": self.num_frames,
            "file": self.file,
            "same_bytes": self.same_bytes,
            "was_signed": self.was_signed,
            "takes": self.takes,
            "same_frames": math.isinf(self.psnr.lowest),
            "same_weights": self.same_weights,
            "psnr_db": decibels,
            "differences": [asdict(difference) for difference in self.differences],
        }

    def as_text(self) -> str:
        """Say it in a few lines."""
        another = "another one, for it is not signed" if self.was_signed else "another one"
        newest = f"the newest of {self.takes} takes, " if self.takes > 1 else ""
        frames = f"{self.num_frames} frames, PSNR {self.psnr.mean:.1f} dB"
        lines = [
            f"{self.clip_id}: {newest}rendered again from its record, key {self.key}",
            f"  {frames}, of the lowest frame {self.psnr.lowest:.1f} dB"
            if math.isfinite(self.psnr.lowest)
            else f"  {frames.removesuffix(' dB')}: all frames are equal",
            f"  the file is {'the same, byte for byte' if self.same_bytes else another}",
        ]
        if not self.same_weights:
            lines.append("  THE WEIGHTS ARE OTHER ONES: this is not the clip that was committed")
        lines += [f"  {d.what}: {d.here}, committed with {d.committed}" for d in self.differences]
        return "\n".join([*lines, *([f"  kept as {self.file}"] * (self.file is not None))])


def rebuild_clip(
    out: str, clip: str, to: Path | None = None, *, allow_pickle: bool = False
) -> Rebuilt:
    """Render a committed clip again in this process, and compare; the output is left as it is.

    Args:
        out: Path or URI of the output.
        clip: clip_id, key, media file or the sha256 of one; of several takes the newest counts.
        to: Where to keep the rebuilt file, outside of the output; None for nowhere.
        allow_pickle: Also load weights that are not safetensors.

    Raises:
        InputError: The output knows no such clip, or it was never committed, or the file cannot
            be written there.
        PictureError: The picture that it starts from cannot be used, or is another one.
        ModelError: Its model cannot be used.
        RenderError: It could not be rendered.
        EncodeError: It could not be encoded.
        StoreError: Its media file is not there, or damaged, or the store did not answer.
    """
    lineage = find_lineage(open_output(out), clip)
    if not lineage.results:
        raise InputError(
            f"the clip {clip!r} was given up, and is not committed: there is nothing to compare "
            "with. See tempprop why, and tempprop retry"
        )
    result, store = lineage.results[0], open_store(out)
    if to is not None:
        _check_place(store, to, result)
    with tempfile.TemporaryDirectory(prefix="tempprop-rebuild-") as name:
        directory = Path(name)
        committed = _fetch_media(store, result, directory / "committed")
        encoded, differences = _render(store, result, directory, allow_pickle=allow_pickle)
        psnr = _compare(result, committed, encoded.pattern)
        if to is not None:
            _keep(encoded, to)
    return Rebuilt(
        clip_id=result.clip_id,
        key=result.key,
        num_frames=encoded.probe.num_frames,
        file=str(to) if to is not None else None,
        same_bytes=encoded.sha256 == result.media.sha256,
        was_signed=result.provenance is not None and result.provenance.signature == "embedded",
        takes=len(lineage.results),
        psnr=psnr,
        differences=tuple(differences),
    )


def _check_place(store: Store, to: Path, result: ClipResult) -> None:
    sequence = result.media.checksums_url is not None
    suffix = "" if sequence else Path(result.media.url).suffix
    if to.suffix != suffix:
        kind = "a directory of files, without a suffix" if sequence else f"a {suffix} file"
        raise InputError(f"the clip is {kind}, not {to.name!r}: choose another --to")
    if not to.parent.is_dir() or to.is_dir():
        raise InputError(f"{to} cannot be written: choose a new name in a directory that is there")
    if store.is_local and to.resolve().is_relative_to(Path(store.root).resolve()):
        raise InputError(f"{to} lies in the output, which is left as it is: choose another --to")


def _keep(encoded: EncodedClip, to: Path) -> None:
    if encoded.is_sequence:
        shutil.copytree(encoded.path, to)
        return
    with draft_of(to) as draft:
        shutil.copyfile(encoded.path, draft)


def _fetch_media(store: Store, result: ClipResult, directory: Path) -> Path:
    directory.mkdir()
    what = f"{store.uri}: {result.media.url}, the media file of {result.clip_id!r}"
    remedy = "Remove its record and render its manifest again"
    try:
        path = fetch_media(store, result.media, directory)
    except FileNotFoundError as error:
        raise StoreError(f"{what}, is not there. {remedy}") from error
    if digest_of(result.media, path) != result.media.sha256:
        raise StoreError(f"{what}, is not what its record says. {remedy}")
    return path


def _render(
    store: Store, result: ClipResult, directory: Path, *, allow_pickle: bool
) -> tuple[EncodedClip, list[Difference]]:
    config = _config(store, result, allow_pickle=allow_pickle)
    differences = list(_other_picture(result))
    chunks, identity, device = _frames(result, config)
    with _threads_of(result):
        encoded = encode_clip(
            watermarked((chunk.frames for chunk in chunks), config.watermark),
            directory,
            # The list of a sequence's files names them.
            f"{result.clip_id}.{result.key[:16]}",
            fps=result.spec.fps,
            num_frames=result.spec.num_frames,
            width=result.spec.width,
            height=result.spec.height,
            encoder=result.encoder.model_copy(update={"preview": False}),
            finishing=result.finishing,
            seal=Seal(claim_of(result.spec, result.key, result.model)),
        )
    return encoded, [
        *_other_weights(result.model, identity),
        *differences,
        *_other_key(result, config),
        *_others(result.versions, shaping_versions()),
        *_others({"encoder": result.media.encoder}, {"encoder": encoded.encoder.name}),
        *_others({"device": result.hardware.get("device", "")}, {"device": device}),
    ]


def _config(store: Store, result: ClipResult, *, allow_pickle: bool) -> RenderConfig:
    """Take what shapes the clip from its record, and from its run what older records lack."""
    of_run = RenderConfig()
    with suppress(InputError):
        of_run = config_of_run(store, result.run_id)
    told = "scheduler" in result.model_fields_set
    return RenderConfig.model_validate(
        {
            "model": result.spec.model,
            "revision": of_run.revision,
            "dtype": result.dtype,
            "scheduler": result.scheduler if told else of_run.scheduler,
            # Never from the output: whoever writes there could have any code run here.
            "allow_pickle": allow_pickle,
            "encoder": result.encoder,
            "finishing": result.finishing,
            "watermark": result.watermark,
            "frames_per_batch": result.frames_per_batch,
        }
    )


def _frames(
    result: ClipResult, config: RenderConfig
) -> tuple[Iterator[FrameChunk], ModelIdentity, str]:
    """Open the model of a clip.

    Returns:
        The clip's frames as they are rendered, what identifies the weights, and the device.
    """
    spec = result.spec
    if is_test_card(spec.model):
        chunks = draw_test_card(spec, len(result.failed_attempts) + 1, lambda _: None)
        return chunks, identify_test_card(spec.model), processor()
    import torch  # noqa: PLC0415 - it takes seconds

    from tempprop.pipeline import load_pipeline  # noqa: PLC0415
    from tempprop.render import render_clips  # noqa: PLC0415

    model = load_pipeline(
        spec.model,
        revision=config.revision,
        dtype=config.dtype,
        scheduler=config.scheduler,
        loras=spec.loras,
        allow_pickle=config.allow_pickle,
    )
    chunks = render_clips(model, [spec], frames_per_batch=result.frames_per_batch)
    on_gpu = model.device.type == "cuda"
    return chunks, model.identity, torch.cuda.get_device_name() if on_gpu else processor()


@contextmanager
def _threads_of(result: ClipResult) -> Iterator[None]:
    """Compute with as many threads as then, as far as there are cores: sums depend on them."""
    then = result.hardware.get("torch_threads", "")
    if is_test_card(result.spec.model) or not then.isdigit():
        yield
        return
    import torch  # noqa: PLC0415 - it takes seconds

    before = torch.get_num_threads()
    torch.set_num_threads(max(1, min(int(then), os.cpu_count() or 1)))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _compare(result: ClipResult, committed: Path, rebuilt: Path) -> Psnr:
    frames = (iter_frames(path, result.media.fps) for path in (committed, rebuilt))
    try:
        return measure_psnr(zip(*frames, strict=True))
    except (ValueError, ClipError) as error:
        raise StoreError(
            f"{result.media.url} cannot be compared with the clip rendered again: {error}"
        ) from error


def _other_weights(then: ModelIdentity, now: ModelIdentity) -> Iterator[Difference]:
    committed, here = ([one.digest, *one.lora_digests] for one in (then, now))
    if committed != here:
        yield Difference(WEIGHTS, ", ".join(committed), ", ".join(here))


def _other_picture(result: ClipResult) -> Iterator[Difference]:
    picture = result.spec.init_image
    here = picture_digest(picture) if picture is not None else None
    if here != result.init_image_sha256:
        yield Difference("picture", str(result.init_image_sha256), str(here))


def _other_key(result: ClipResult, config: RenderConfig) -> Iterator[Difference]:
    """Tell whether the record still holds all that its key was made of."""
    here = clip_key(result.spec, config, result.model, result.init_image_sha256)
    if here == result.key:
        return
    then = result.render_version
    if then == RENDER_VERSION:
        yield Difference("key", result.key, here)
    else:
        yield Difference("render version", str(then or "another one"), str(RENDER_VERSION))


def _others(then: Mapping[str, str], now: Mapping[str, str]) -> Iterator[Difference]:
    for name, here in now.items():
        if then.get(name) != here:
            yield Difference(name, then.get(name) or "an unknown one", here)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
