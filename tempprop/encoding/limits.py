"""What a profile and the finishing steps ask of a clip."""

from tempprop.encoding.profiles import PROFILES
from tempprop.spec import EncoderConfig, FinishingConfig


def rate_problem(
    fps: float, encoder: EncoderConfig, finishing: FinishingConfig
) -> tuple[str, str] | None:
    """Say why a clip of a frame rate cannot be encoded, and what to do; None where it can.

    Args:
        fps: Frames per second of the clip as it is rendered.
        encoder: Kind of media file.
        finishing: Steps before encoding.
    """
    wanted, most = finishing.interpolate_fps, PROFILES[encoder.profile].most_fps
    if wanted is not None and wanted <= fps:
        return (
            f"finishing.interpolate_fps is {wanted:g}, and the clip has {fps:g} frames per second "
            "already",
            "Raise finishing.interpolate_fps, or leave it out",
        )
    if (wanted or fps) > most:
        return (
            f"the profile {encoder.profile} holds at most {most:g} frames per second, and the clip "
            f"has {wanted or fps:g}",
            "Lower the rate, or choose another encoder.profile",
        )
    return None
