"""One clip in this process: the shortest way from a prompt to a media file."""

import logging
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from pydantic import ValidationError

from tempprop.batch_size import measured_frames_per_batch
from tempprop.encode import EncodedClip, encode_clip
from tempprop.encoding.profiles import PROFILES
from tempprop.errors import InputError
from tempprop.init_image import picture_digest
from tempprop.mini import unknown_words
from tempprop.pipeline import load_pipeline
from tempprop.provenance.claim import claim_of
from tempprop.provenance.sealing import Seal
from tempprop.render import render_clips
from tempprop.spec import ClipSpec, EncoderConfig, RenderConfig, clip_key
from tempprop.watermark import watermarked

logger = logging.getLogger("tempprop.preview")


def preview_clip(
    prompt: str, out: Path, config: RenderConfig, seed: int = 0, init_image: str | None = None
) -> EncodedClip:
    """Render one clip with a configuration's defaults.

    Args:
        prompt: What the clip shows.
        out: The file to write, with the suffix of the encoder's profile; its directory exists. The
            poster goes beside it as `.jpg`.
        config: Model and look.
        seed: Key of the noise.
        init_image: Path or URI of the picture that becomes frame 0; None for none.

    Returns:
        The files.

    Raises:
        InputError: The file name or the prompt cannot be used.
        PictureError: The picture cannot be used.
        ModelError: The model cannot be used.
        RenderError: The clip could not be rendered.
        EncodeError: The clip could not be encoded.
    """
    if not prompt.strip():
        raise InputError("the prompt is empty: say what the clip shows")
    spec = _spec(prompt, config, seed, init_image)
    if init_image is not None:
        # A model takes longer to load than a wrong path takes to be found.
        picture_digest(init_image)
        _refuse_to_replace(init_image, out)
    with _directory_beside(out, config.encoder) as directory:
        if spec.model == "mini" and (words := unknown_words(prompt)):
            logger.warning(
                "the embedded model does not know: %s. `tempprop models describe mini` lists what "
                "it knows",
                ", ".join(words),
            )
        encoded = _render(spec, config, directory, out.stem)
        shutil.move(encoded.poster_path, out.with_suffix(".jpg"))
        shutil.move(encoded.path, out)
    return replace(encoded, path=out, poster_path=out.with_suffix(".jpg"))


def _spec(prompt: str, config: RenderConfig, seed: int, init_image: str | None) -> ClipSpec:
    try:
        return ClipSpec(
            clip_id="preview",
            prompt=prompt,
            seed=seed,
            init_image=init_image,
            model=config.model,
            **config.clip.model_dump(),
        )
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise InputError(f"{first['loc'][0]}: {first['msg']}. Change it") from error


def _refuse_to_replace(picture: str, out: Path) -> None:
    for file in (out, out.with_suffix(".jpg")):
        if file.exists() and file.resolve() == Path(picture).resolve():
            raise InputError(
                f"the preview and its poster would replace {picture!r}, the picture that it starts "
                "from: choose another --out"
            )


@contextmanager
def _directory_beside(out: Path, encoder: EncoderConfig) -> Iterator[Path]:
    """Give a directory on the disk of the output, so that finished files are only renamed."""
    profile = PROFILES[encoder.profile]
    if profile.is_sequence:
        raise InputError(
            f"a preview is one file, and {encoder.profile} makes many: choose another "
            "encoder.profile"
        )
    if out.suffix != profile.suffix:
        raise InputError(
            f"a preview with the profile {encoder.profile} is an {profile.suffix} file, not "
            f"{out.name!r}: choose another --out, or another encoder.profile"
        )
    if not out.parent.is_dir():
        raise InputError(f"there is no directory {out.parent}: make it, or choose another --out")
    for file in (out, out.with_suffix(".jpg")):
        if file.is_dir():
            raise InputError(f"{file} is a directory: remove it, or choose another --out")
    try:
        directory = tempfile.TemporaryDirectory(prefix=".tempprop-preview-", dir=out.parent)
    except OSError as error:
        raise InputError(
            f"nothing can be written in {out.parent}: {error.strerror}. Choose another --out"
        ) from error
    with directory as path:
        yield Path(path)


def _render(spec: ClipSpec, config: RenderConfig, directory: Path, stem: str) -> EncodedClip:
    model = load_pipeline(
        spec.model,
        revision=config.revision,
        dtype=config.dtype,
        scheduler=config.scheduler,
        allow_pickle=config.allow_pickle,
    )
    size = config.frames_per_batch
    frames_per_batch = measured_frames_per_batch(model, spec) if size == "auto" else size
    chunks = render_clips(model, [spec], frames_per_batch=frames_per_batch)
    picture = picture_digest(spec.init_image) if spec.init_image is not None else None
    key = clip_key(spec, config, model.identity, picture)
    return encode_clip(
        watermarked((chunk.frames for chunk in chunks), config.watermark),
        directory,
        stem,
        fps=spec.fps,
        num_frames=spec.num_frames,
        width=spec.width,
        height=spec.height,
        encoder=config.encoder.model_copy(update={"preview": False}),
        finishing=config.finishing,
        seal=Seal(claim_of(spec, key, model.identity)),
        metadata={"prompt": spec.prompt},
    )
