"""The kinds of media files that a clip can become, as one table.

A profile says what ffmpeg is told, and what the file has to turn out to be when it is decoded.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

ProfileName = Literal["h264", "hevc", "av1", "vp9", "prores", "ffv1", "png", "exr", "gif", "webp"]

Options = Mapping[str, str | int]

THREADS = 4
"""A fixed number, because encoders' bytes depend on it: the same frames give the same file."""

X264_PRESETS = (
    "medium",
    *("ultrafast", "superfast", "veryfast", "faster", "fast"),
    *("slow", "slower", "veryslow"),
)
"""Also those of x265; the first is the default of both."""


@dataclass(frozen=True)
class Profile:
    """A kind of media file.

    Attributes:
        suffix: Of the file, or of each frame's file.
        codec: FFmpeg's name of the codec, whatever encoder made it.
        encoder: FFmpeg's name of the encoder.
        pixel_formats: Those that may be asked for, by FFmpeg's names; the first is the default.
        options: What FFmpeg is told in any case.
        crf: The default and the largest constant rate factor; None for a codec without one.
        preset_option: FFmpeg's name of the option that trades speed for size; empty where there is
            none.
        presets: Its values; the first is the default.
        quality: The default of WebP's quality, 0 to 100; None for the others.
        loops: Whether the file says how often it is played.
        nvenc: FFmpeg's name of NVIDIA's encoder of the same codec; empty for none.
        is_sequence: Whether each frame is a file of its own.
        is_lossless: Whether the frames come back as they went in.
        most_fps: The fastest rate that the format can hold.
        length_tolerance_seconds: How coarsely it rounds times.
    """

    suffix: str
    codec: str
    encoder: str
    pixel_formats: tuple[str, ...]
    options: Options = field(default_factory=dict)
    crf: tuple[int, int] | None = None
    preset_option: str = ""
    presets: tuple[str, ...] = ()
    quality: int | None = None
    loops: bool = False
    nvenc: str = ""
    is_sequence: bool = False
    is_lossless: bool = False
    most_fps: float = 240.0
    length_tolerance_seconds: float = 2e-3

    @property
    def is_rgb(self) -> bool:
        """Whether pixels stay RGB, and are not converted to BT.709's luma and chroma."""
        return not self.pixel_formats[0].startswith("yuv")

    def defaults(self) -> dict[str, int | str | None]:
        """Give the values of settings that are not given."""
        return {
            "crf": self.crf[0] if self.crf else None,
            "preset": self.presets[0] if self.presets else None,
            "pixel_format": self.pixel_formats[0],
            "quality": self.quality,
            "loop": 0 if self.loops else None,
        }

    def choices(self) -> dict[str, Sequence[object]]:
        """Give the values that each setting may have; none where there is no such setting."""
        return {
            "crf": range(self.crf[1] + 1) if self.crf else (),
            "preset": self.presets,
            "pixel_format": self.pixel_formats,
            "quality": range(101) if self.quality is not None else (),
            "loop": range(65_536) if self.loops else (),
            "nvenc": (False, True) if self.nvenc else (False,),
        }


# Players look for the index at the front, and people for tags of their own.
MP4: Options = MappingProxyType({"movflags": "+faststart+use_metadata_tags"})

PROFILES: Mapping[ProfileName, Profile] = MappingProxyType(
    {
        "h264": Profile(
            suffix=".mp4",
            codec="h264",
            encoder="libx264",
            pixel_formats=("yuv420p", "yuv422p", "yuv444p", "yuv420p10le"),
            options={**MP4, "threads": THREADS},
            crf=(18, 51),
            preset_option="preset",
            presets=X264_PRESETS,
            nvenc="h264_nvenc",
        ),
        "hevc": Profile(
            suffix=".mp4",
            codec="hevc",
            encoder="libx265",
            pixel_formats=("yuv420p", "yuv420p10le", "yuv422p10le", "yuv444p", "yuv444p10le"),
            # Apple's players want the parameter sets beside the frames, which hvc1 says.
            options={
                **MP4,
                "vtag": "hvc1",
                "x265-params": f"log-level=error:pools={THREADS}:frame-threads=1",
            },
            crf=(20, 51),
            preset_option="preset",
            presets=X264_PRESETS,
            nvenc="hevc_nvenc",
        ),
        "av1": Profile(
            suffix=".mp4",
            codec="av1",
            encoder="libsvtav1",
            pixel_formats=("yuv420p", "yuv420p10le"),
            options={**MP4, "svtav1-params": f"lp={THREADS}"},
            crf=(28, 63),
            preset_option="preset",
            presets=("8", *(str(number) for number in range(14) if number != 8)),
            nvenc="av1_nvenc",
        ),
        "vp9": Profile(
            suffix=".webm",
            codec="vp9",
            encoder="libvpx-vp9",
            pixel_formats=("yuv420p", "yuv444p", "yuv420p10le"),
            # Without a bit rate of zero libvpx takes the factor for an upper limit only.
            options={"b:v": 0, "row-mt": 1, "deadline": "good", "threads": THREADS},
            crf=(24, 63),
            preset_option="cpu-used",
            presets=("2", "0", "1", "3", "4", "5"),
        ),
        "prores": Profile(
            suffix=".mov",
            codec="prores",
            encoder="prores_ks",
            pixel_formats=("yuv422p10le",),
            options={"profile:v": "hq", "vendor": "apl0", "threads": THREADS, **MP4},
        ),
        "ffv1": Profile(
            suffix=".mkv",
            codec="ffv1",
            encoder="ffv1",
            pixel_formats=("bgr0",),
            options={"level": 3, "slices": 4, "slicecrc": 1, "g": 1, "threads": THREADS},
            is_lossless=True,
        ),
        "png": Profile(
            suffix=".png",
            codec="png",
            encoder="png",
            pixel_formats=("rgb24",),
            options={"pred": "mixed", "threads": THREADS},
            is_sequence=True,
            is_lossless=True,
        ),
        "exr": Profile(
            suffix=".exr",
            codec="exr",
            # OpenEXR writes the files; what it reads comes as PNG from FFmpeg.
            encoder="png",
            pixel_formats=("rgb24",),
            options={"compression_level": 1, "threads": THREADS},
            is_sequence=True,
        ),
        "gif": Profile(
            suffix=".gif",
            codec="gif",
            encoder="gif",
            pixel_formats=("pal8",),
            loops=True,
            # Times are whole hundredths of a second.
            most_fps=50.0,
            length_tolerance_seconds=2e-2,
        ),
        "webp": Profile(
            suffix=".webp",
            codec="webp",
            encoder="libwebp_anim",
            pixel_formats=("bgra",),
            options={"compression_level": 4, "f": "webp"},
            quality=90,
            loops=True,
        ),
    }
)
