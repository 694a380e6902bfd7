"""NVIDIA's encoders: whether a machine has them shows when one is tried."""

import functools
import subprocess

from tempprop.encoding.ffmpeg import encoders_of, find_ffmpeg

TRIAL_SECONDS = 30.0
REASON_CHARACTERS = 200

NVENC_OPTIONS = {"preset": "p5", "tune": "hq", "rc": "vbr", "b:v": 0}
"""Constant quality by `cq`, which is what they have in place of a constant rate factor."""


@functools.cache
def nvenc_problem(encoder: str) -> str | None:
    """Encode a few gray frames with one of NVIDIA's encoders.

    Args:
        encoder: FFmpeg's name of it, as in `h264_nvenc`.

    Returns:
        Why it cannot be used on this machine; None where it can.
    """
    program = find_ffmpeg()
    if encoder not in encoders_of(program):
        return f"{program} was built without {encoder}"
    source = "color=gray:size=256x256:rate=8:duration=0.5"
    command = [program, "-hide_banner", "-loglevel", "error", "-f", "lavfi", "-i", source]
    command += ["-pix_fmt", "yuv420p", "-c:v", encoder, "-f", "null", "-"]
    try:
        tried = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=TRIAL_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{encoder} could not be tried: {error}"
    if tried.returncode == 0:
        return None
    said = " ".join(tried.stderr.split())[:REASON_CHARACTERS]
    return f"{encoder} does not work here: {said or f'exit status {tried.returncode}'}"
