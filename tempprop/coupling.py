"""The coupling of frames at one step: a scan along the frames, on clean estimates.

Every frame's clean estimate is drawn towards that of the frame before it and of the anchor, and
takes over some of the anchor's color. The scan reads the frames in order and hands on what it saw
last; it knows nothing of pipelines, schedulers or batches.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import repeat

import torch
from torch.nn import functional

from tempprop.anchors import incoming_share, renews_anchor
from tempprop.families import LatentLayout
from tempprop.motion import View, seen
from tempprop.prediction import NoiseLevel, model_output_for, noise_estimate
from tempprop.spec import ClipSettings

STATISTICS_EPSILON = 1e-5

AT_REST = View()
"""How a frame sees those before it where the camera stands still."""


@dataclass(frozen=True)
class CoupledEstimates:
    """Coupled clean estimates at one step: what the scan needs to go on with the next frame.

    Attributes:
        previous: Estimate of the last frame that was scanned, shape of one latent, like all.
        first: Estimate of frame 0, which in a loop is also the frame after the last one.
        outgoing: Estimate of the anchor that is being left, see `tempprop.anchors`.
        incoming: Estimate of the anchor that takes its place. While frame 0 is the only anchor, the
            three are one tensor.
    """

    previous: torch.Tensor
    first: torch.Tensor
    outgoing: torch.Tensor
    incoming: torch.Tensor


@dataclass(frozen=True)
class Statistics:
    """Mean and standard deviation of a latent, channel by channel."""

    mean: torch.Tensor
    deviation: torch.Tensor


Carry = tuple[CoupledEstimates, ...]
"""The coupled estimates at every step, in order: what one chunk of a clip hands to the next."""


def strength_at(settings: ClipSettings, step: int, num_steps: int) -> float:
    """Give the coupling strength lambda at a step.

    It falls in a straight line from `propagation_strength` at the first step to 0 at the fraction
    `propagation_end` of the schedule: the early steps, which place things, are coupled most;
    the late ones, which draw detail, least, or not at all after that fraction.

    Args:
        settings: Strength and end.
        step: Number of the step, from 0.
        num_steps: Length of the schedule.
    """
    end = settings.propagation_end * num_steps
    return settings.propagation_strength * max(0.0, 1.0 - step / end) if end > 0 else 0.0


def ending_weight(settings: ClipSettings, frame: int) -> float:
    """Give the share of the end, against the frames before, in what a frame is drawn to.

    The end of a loop of N frames is frame 0 again. With m = N - f frames to go, a share of
    1 / (m + 1) would put each frame on the straight line to the end; with 2 / (m + 2) the steps
    become smaller towards it, so that what the coupling leaves free does not open the seam.

    Args:
        settings: Whether the clip is a loop, and of how many frames.
        frame: Number of the frame, from 1.

    Returns:
        0 for a clip that is no loop.
    """
    return 2 / (settings.num_frames - frame + 2) if settings.loop else 0.0


def low_pass(latent: torch.Tensor, sigma: float) -> torch.Tensor:
    """Blur a latent with a Gaussian, repeating its border.

    Args:
        latent: Shape `(channels, h, w)`.
        sigma: Standard deviation in latent pixels; 0 returns the latent as it is.

    Returns:
        The blurred latent, same shape.
    """
    if sigma == 0:
        return latent
    radius = max(1, round(3 * sigma))
    position = torch.arange(-radius, radius + 1, dtype=latent.dtype, device=latent.device)
    kernel = torch.exp(-0.5 * (position / sigma) ** 2)
    kernel = (kernel / kernel.sum()).expand(latent.shape[0], 1, -1)
    padded = functional.pad(latent[None], (radius, radius, radius, radius), mode="replicate")
    rows = functional.conv2d(padded, kernel[:, :, None, :], groups=latent.shape[0])
    return functional.conv2d(rows, kernel[:, :, :, None], groups=latent.shape[0])[0]


def channel_statistics(latent: torch.Tensor) -> Statistics:
    """Measure a latent of shape `(channels, h, w)`, or `(tokens, channels)` where it is packed."""
    places = (1, 2) if latent.ndim == 3 else (0,)
    return Statistics(
        latent.mean(places, keepdim=True), latent.std(places, keepdim=True, correction=0)
    )


def mixed(one: Statistics, other: Statistics, share: float) -> Statistics:
    """Give the statistics on the straight line from one to the other."""
    return Statistics(
        torch.lerp(one.mean, other.mean, share), torch.lerp(one.deviation, other.deviation, share)
    )


def anchor_statistics(
    estimates: CoupledEstimates, settings: ClipSettings, number: int
) -> Statistics:
    """Give the statistics that color coherence leads a frame to.

    Those of the anchors are mixed, and in a loop those of the end, just as the latents are in what
    the frame is drawn to. They are not the statistics of that mixture: two latents that are not
    alike cancel each other in part, and what is half the one and half the other has less contrast
    than either.

    Args:
        estimates: The anchors and the end.
        settings: The interval of the anchors, and whether the clip is a loop.
        number: Number of the frame, from 1.
    """
    share, end = incoming_share(number, settings.keyframe_interval), ending_weight(settings, number)
    statistics = channel_statistics(estimates.incoming)
    if share < 1:
        statistics = mixed(channel_statistics(estimates.outgoing), statistics, share)
    if end > 0:
        statistics = mixed(statistics, channel_statistics(estimates.first), end)
    return statistics


def match_statistics(latent: torch.Tensor, reference: Statistics) -> torch.Tensor:
    """Give a latent the mean and standard deviation of a reference, channel by channel.

    This is adaptive instance normalization (Huang & Belongie, "Arbitrary Style Transfer in
    Real-time with Adaptive Instance Normalization", 2017, eq. 8).

    Args:
        latent: Shape `(channels, h, w)`, or `(tokens, channels)` where the family packs latents.
        reference: Of a latent of the same form.

    Returns:
        The latent with the reference's statistics, same shape.
    """
    own = channel_statistics(latent)
    scale = reference.deviation / (own.deviation + STATISTICS_EPSILON)
    return (latent - own.mean) * scale + reference.mean


def pull(
    clean: torch.Tensor,
    estimates: CoupledEstimates,
    settings: ClipSettings,
    number: int = 1,
    view: View = AT_REST,
) -> torch.Tensor:
    """Give the direction in which a frame is drawn at full strength.

    LP(r) - LP(x0) with r = (1 - gamma) * W_f(previous) + gamma * A and, between the outgoing
    anchor o and the incoming one i, A = (1 - s) * W_{o->f}(A_o) + s * W_{i->f}(A_i), s being the
    `incoming_share`. Where the camera uncovers what an anchor does not show, the previous frame
    stands in for it; where the previous frame does not show it either, the frame itself does, which
    draws it nowhere. In a loop, r is then drawn on to frame 0 as the frame after the last one.

    Resampling takes detail away, and W_f is applied once a frame to what was resampled before.
    It does not build up without end: a share 1 - lambda of every estimate is the frame's own, and
    the late steps, which draw the detail, are not coupled.

    Args:
        clean: Clean estimate x0 of the frame, shape `(channels, h, w)`.
        estimates: Coupled estimates of the frames before at the same step, of the same shape.
        settings: gamma, the low-pass, the interval of the anchors and whether the clip is a loop.
        number: Number of the frame, from 1.
        view: How the frame sees those before it.
    """
    share, end = incoming_share(number, settings.keyframe_interval), ending_weight(settings, number)
    previous = seen(estimates.previous, clean, view.previous)
    anchor = seen(estimates.incoming, previous, view.incoming)
    if share < 1:
        anchor = torch.lerp(seen(estimates.outgoing, previous, view.outgoing), anchor, share)
    reference = torch.lerp(previous, anchor, settings.anchor_weight)
    if end > 0:
        reference = torch.lerp(reference, seen(estimates.first, previous, view.ending), end)
    sigma = settings.propagation_low_pass
    return low_pass(reference, sigma) - low_pass(clean, sigma)


def strongest(direction: torch.Tensor, clean: torch.Tensor, floor: float) -> torch.Tensor:
    """Give the strength that leaves a frame just `motion_floor` away from its reference.

    With d the root mean square of the pull, strength lambda leaves the frame at the distance
    (1 - lambda) * d, so that it is 1 - floor / d. The floor counts in standard deviations of the
    frame's own clean estimate at this step: autoencoders differ in the scale of their latents, and
    estimates gain contrast from step to step, so that a distance in latent units would be wide
    for one family and narrow for another, strict at the first step and slack at the last. It
    holds at every step that is coupled, since a later step takes up the estimates that the model
    makes of frames that an earlier one has brought together. What finds no part in the pull adds to
    the distance: detail above the low-pass, and what color coherence does afterwards.

    The default of 0.02 was measured on the embedded model: ordinary clips changed by about a tenth
    of a level of 255 on average, and one of a single step at full strength had no equal neighbors
    left, where a floor of 0.01 left a fifth of them equal.

    Args:
        direction: The pull.
        clean: Clean estimate of the frame, same shape.
        floor: `motion_floor`, 0 to 1.

    Returns:
        A number without a shape, at most 1. It stays on the device: to read it there, frame by
        frame and step by step, would stall it. Below 0 where the frame is nearer to its reference
        than the floor by itself.
    """
    distance = direction.square().mean().sqrt()
    least = floor * clean.std(correction=0)
    return 1 - least / distance.clamp(min=torch.finfo(distance.dtype).tiny)


def couple_frame(
    clean: torch.Tensor,
    estimates: CoupledEstimates,
    strength: float,
    settings: ClipSettings,
    layout: LatentLayout | None = None,
    view: View | None = None,
    number: int = 1,
) -> tuple[torch.Tensor, torch.Tensor | float]:
    """Draw one frame's clean estimate towards the previous frame's and the anchors'.

    x0 + lambda * pull, with lambda no higher than `strongest`, then a share of the anchors' channel
    statistics.

    The guard lowers coupling and nothing else. Frames whose own estimates are equal stay equal:
    with a noise correlation of 1, a camera at rest and one prompt, the model itself makes identical
    frames, which no strength, not even 0, sets apart.

    Args:
        clean: Clean estimate of the frame, shape of one latent.
        estimates: Coupled estimates of the frames before at the same step.
        strength: lambda, 0 to 1.
        settings: Strengths of the coupling.
        layout: How the pipeline packs latents; None where they are `(channels, h, w)`.
        view: How the frame sees those before it; None for a camera at rest.
        number: Number of the frame, from 1: where it lies between its anchors and from the end.

    Returns:
        The coupled clean estimate, same shape, and the strength that it was coupled with: a tensor
        on the device where `motion_floor` had a say in it.
    """
    applied: torch.Tensor | float = strength
    if strength > 0:
        own, grids = clean, estimates
        if layout is not None:
            own, *before = layout.to_grid(torch.stack([clean, *_latents(estimates)]))
            grids = CoupledEstimates(*before)
        direction = pull(own, grids, settings, number, view or AT_REST)[None]
        direction = (direction if layout is None else layout.from_grid(direction))[0]
        if settings.motion_floor > 0:
            applied = strongest(direction, clean, settings.motion_floor).clamp(0, strength)
        clean = clean + applied * direction
    if settings.color_coherence > 0:
        colored = match_statistics(clean, anchor_statistics(estimates, settings, number))
        clean = torch.lerp(clean, colored, settings.color_coherence)
    return clean, applied


def _latents(estimates: CoupledEstimates) -> tuple[torch.Tensor, ...]:
    return estimates.previous, estimates.first, estimates.outgoing, estimates.incoming


def scanned(
    before: CoupledEstimates | None, latent: torch.Tensor, number: int, interval: int
) -> CoupledEstimates:
    """Go on to the next frame: the one that was just coupled is now the previous one.

    Args:
        before: What the frame was coupled to; None for frame 0.
        latent: Its coupled estimate.
        number: Its number.
        interval: Frames from one anchor to the next, or 0.
    """
    if before is None:
        return CoupledEstimates(latent, latent, latent, latent)
    if renews_anchor(number, interval):
        return CoupledEstimates(latent, before.first, before.incoming, latent)
    return replace(before, previous=latent)


def couple_frames(
    clean: torch.Tensor,
    before: CoupledEstimates | None,
    strength: float,
    settings: ClipSettings,
    layout: LatentLayout | None = None,
    views: Sequence[View] | None = None,
    first_frame: int = 0,
    held: torch.Tensor | None = None,
) -> tuple[torch.Tensor, CoupledEstimates, torch.Tensor | int]:
    """Scan along the frames of a segment at one step.

    Args:
        clean: Clean estimates, shape `(frames, ...)`.
        before: What the scan saw last; None if the first of the frames is frame 0, which is
            never changed.
        strength: lambda at this step.
        settings: Strengths of the coupling.
        layout: How the pipeline packs latents; None where they are `(channels, h, w)`.
        views: How each frame sees those before it; None for a camera that stands still.
        first_frame: Number of the first of the frames in the clip.
        held: What the first of the frames is held to, shape of one latent; None for a free one.

    Returns:
        The coupled estimates, shape `(frames, ...)`; what the next segment goes on from; and in how
        many of the frames `motion_floor` lowered the strength, on the device.
    """
    coupled: list[torch.Tensor] = []
    lowered: torch.Tensor | int = 0
    numbers = range(first_frame, first_frame + len(clean))
    # Copies: a view in the carry would keep the estimates of its whole batch.
    frames = map(torch.clone, clean)
    for number, frame, view in zip(numbers, frames, views or repeat(None, len(clean)), strict=True):
        latent = frame
        if held is not None and number == first_frame:
            latent = held
        elif before is not None:
            latent, applied = couple_frame(frame, before, strength, settings, layout, view, number)
            lowered = lowered + (applied < strength)
        before = scanned(before, latent, number, settings.keyframe_interval)
        coupled.append(latent)
    assert before is not None, "a segment has at least one frame"
    return torch.stack(coupled), before, lowered


def couple_step(
    sample: torch.Tensor,
    model_output: torch.Tensor,
    clean: torch.Tensor,
    coupled: torch.Tensor,
    level: NoiseLevel,
    predicts: str,
    keeps: str,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Find the (sample, model output) that mean the coupled clean estimate to the scheduler.

    Either the noise estimate stays, and the sample becomes a * x0 + b * epsilon, or the sample
    stays, and the noise estimate takes up the difference. A sample without noise (b = 0) has no
    noise estimate to take it up, and moves.

    Args:
        sample: Noisy latents, shape `(frames, ...)`.
        model_output: The model's output for them.
        clean: The clean estimates that follow from the two.
        coupled: The clean estimates to be meant instead.
        level: Noise level of the sample.
        predicts: The prediction type.
        keeps: `noise` or `sample`.

    Returns:
        Sample and model output, same shapes.
    """
    if keeps == "noise" or level.noise == 0:
        noise = noise_estimate(sample, clean, level)
        sample = sample + level.signal * (coupled - clean)
    else:
        noise = noise_estimate(sample, coupled, level)
    return sample, model_output_for(coupled, noise, level, predicts)
