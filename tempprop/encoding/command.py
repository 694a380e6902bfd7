"""The command that ffmpeg is started with: one stream of frames in, a clip and its preview out."""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import ffmpeg

from tempprop.encoding.ffmpeg import find_ffmpeg
from tempprop.encoding.finishing import SCALING, finish, finished_length
from tempprop.encoding.nvenc import NVENC_OPTIONS, nvenc_problem
from tempprop.encoding.profiles import PROFILES, Profile
from tempprop.spec import EncoderConfig, FinishingConfig

PREVIEW_SIDE = 320
PREVIEW_FPS = 12
PREVIEW_FRAMES = 120
PREVIEW_QUALITY = 70


@dataclass(frozen=True)
class Encoder:
    """Who encodes.

    Attributes:
        name: FFmpeg's name of the encoder.
        instead_of: Why it is not the one that was asked for; None where it is.
    """

    name: str
    instead_of: str | None = None


@dataclass(frozen=True)
class RawVideo:
    """Frames as they go into ffmpeg.

    Attributes:
        width: Pixels.
        height: Pixels.
        num_frames: How many.
        rate: Frames per second.
    """

    width: int
    height: int
    num_frames: int
    rate: Fraction


def choose_encoder(config: EncoderConfig) -> Encoder:
    """Take NVIDIA's encoder where it is asked for and works, else the one of the profile."""
    profile = PROFILES[config.profile]
    if not config.nvenc:
        return Encoder(profile.encoder)
    problem = nvenc_problem(profile.nvenc)
    return Encoder(profile.nvenc) if problem is None else Encoder(profile.encoder, problem)


def encode_command(
    video: RawVideo,
    media: Path,
    preview: Path | None,
    *,
    config: EncoderConfig,
    encoder: Encoder,
    finishing: FinishingConfig,
    metadata: Mapping[str, str],
) -> list[str]:
    """Write the command; frames go into its standard input as raw RGB of 8 bits.

    Args:
        video: What goes in.
        media: The file to write, or the pattern of the files of a sequence.
        preview: A small animation to write as well; None for none.
        config: The settings of the profile.
        encoder: Who encodes.
        finishing: Steps before encoding.
        metadata: Tags to keep in the file, where its format has any.

    Raises:
        EncodeError: No ffmpeg here has the encoder.
    """
    frames = ffmpeg.input(
        "pipe:",
        format="rawvideo",
        pix_fmt="rgb24",
        video_size=(video.width, video.height),
        framerate=str(video.rate),
    )
    size = (video.width, video.height)
    finished = finish(frames, video.num_frames, size, video.rate, finishing)
    outputs = []
    if preview is not None:
        branches = finished.filter_multi_output("split")
        finished = branches[0]
        _, rate = finished_length(video.num_frames, video.rate, finishing)
        outputs.append(_preview_output(branches[1], preview, rate))
    outputs.insert(0, _media_output(finished, media, config, encoder, metadata))
    command: list[str] = ffmpeg.compile(
        ffmpeg.merge_outputs(*outputs), cmd=find_ffmpeg(encoder.name), overwrite_output=True
    )
    return command


def _media_output(
    frames: Any, media: Path, config: EncoderConfig, encoder: Encoder, metadata: Mapping[str, str]
) -> Any:
    profile = PROFILES[config.profile]
    options: dict[str, Any] = dict(profile.options)
    if encoder.name == profile.encoder:
        options |= _software_options(profile, config)
    else:
        options = {"movflags": options["movflags"], "cq": config.crf, **NVENC_OPTIONS}
    if profile.is_sequence:
        options |= {"f": "image2", "start_number": 0}
    tags = {f"metadata:g:{n}": f"{key}={value}" for n, (key, value) in enumerate(metadata.items())}
    return ffmpeg.output(
        _in_colors(frames, profile, config.pixel_format),
        # ffmpeg takes the name for a path, whatever is in it.
        f"file:{media.resolve()}",
        vcodec=encoder.name,
        loglevel="error",
        hide_banner=None,
        # Else Matroska gives each file a random name of its own.
        fflags="+bitexact",
        **options,
        **tags,
    )


def _software_options(profile: Profile, config: EncoderConfig) -> dict[str, Any]:
    """Give the options of those settings that the profile has."""
    options: dict[str, Any] = {}
    if config.crf is not None:
        options["crf"] = config.crf
    if config.preset is not None:
        options[profile.preset_option] = config.preset
    if config.quality is not None:
        options["quality"] = config.quality
    if config.loop is not None:
        options["loop"] = _repetitions(config.loop) if profile.codec == "gif" else config.loop
    return options


def _repetitions(plays: int) -> int:
    """Say how often a GIF is repeated after it was played once; -1 for never, 0 for ever."""
    return {0: 0, 1: -1}.get(plays, plays - 1)


def _in_colors(frames: Any, profile: Profile, pixel_format: str) -> Any:
    """Convert pixels to what the encoder takes."""
    if pixel_format == "pal8":
        # A palette for each frame: one for the whole clip would keep all of it in memory.
        branches = frames.filter_multi_output("split")
        palette = branches[0].filter("palettegen", stats_mode="single")
        return ffmpeg.filter([branches[1], palette], "paletteuse", new=1)
    if profile.is_rgb:
        return frames.filter("format", pixel_format)
    # Tags alone would only relabel ffmpeg's default BT.601 conversion.
    converted = frames.filter(
        "scale", in_range="full", out_range="tv", out_color_matrix="bt709", flags=SCALING
    ).filter("format", pixel_format)
    # Encoders take the tags from the frames, and forget those that are given to them as options.
    return converted.filter(
        "setparams", range="tv", color_primaries="bt709", color_trc="bt709", colorspace="bt709"
    )


def _preview_output(frames: Any, preview: Path, rate: Fraction) -> Any:
    """Make an animation for pages: small, slow and short enough to be loaded by the dozen."""
    smaller = f"min(1,{PREVIEW_SIDE}/max(iw,ih))"
    animation = (
        # Every second, third, ... frame: a filter for rates drops the only frame of a clip.
        frames.filter("framestep", max(1, round(rate / PREVIEW_FPS)))
        .filter("trim", end_frame=PREVIEW_FRAMES)
        .filter("scale", f"max(2,trunc(iw*{smaller}))", f"max(2,trunc(ih*{smaller}))")
        .filter("format", "bgra")
    )
    return ffmpeg.output(
        animation,
        f"file:{preview.resolve()}",
        f="webp",
        vcodec="libwebp_anim",
        quality=PREVIEW_QUALITY,
        compression_level=4,
        loop=0,
    )
