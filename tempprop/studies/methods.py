"""The ways to make a clip that are compared: ours, what others do, and what bounds both.

Every method is given the same takes, and the same size, length, steps and guidance. All those that
denoise make frame 0 of the same noise.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from pydantic import JsonValue

from tempprop.errors import InputError
from tempprop.frames import Frames
from tempprop.mini.reconstruct import reconstructed
from tempprop.pipeline import LoadedModel
from tempprop.prompts import PromptEncoder
from tempprop.spec import ClipSettings, ClipSpec, Motion
from tempprop.studies.feedback import FeedbackSettings, fed_back
from tempprop.studies.films import rendered
from tempprop.studies.serial import rendered_in_series
from tempprop.studies.takes import Take
from tempprop.studies.text2video_zero import ZeroSettings, text2video_zero, zero_clip

UNCOUPLED: dict[str, Any] = {"propagation_strength": 0.0, "color_coherence": 0.0}

INDEPENDENT: dict[str, Any] = UNCOUPLED | {"noise_correlation": 0.0}

STIFF: dict[str, Any] = {
    "propagation_keeps": "noise",
    "propagation_strength": 0.95,
    "propagation_end": 0.7,
    "anchor_weight": 0.3,
}
"""What a camera needs: the embedded model has firm ideas of how large things are, and where.

The late steps are free, because what moves was resampled, and is blurred, in every frame.
"""

LOOSE: dict[str, Any] = {
    "noise_correlation": 0.7,
    "propagation_strength": 0.85,
    "propagation_end": 0.7,
    "anchor_weight": 0.2,
}
"""What a model needs whose pictures are fixed by the prompt, place and size included.

Chosen by clips of the emoji's model that are in no comparison: they move as their films do, where
the defaults, chosen by the embedded model, let next to nothing move.
"""

ZOOM_A_FRAME = 1.02
"""16 frames come closer by a third, as far as in films of the drawn world."""

PAN_A_FRAME = -0.016
"""In widths: 16 frames go to the left by a quarter, as far as in films of the drawn world."""

LOOSE_FEEDBACK = 0.5
"""Of the feedback that Deforum's default would hold closer: half of the steps are taken."""


@dataclass(frozen=True)
class Studio:
    """What makes clips.

    Attributes:
        model: The text-to-image pipeline.
        encode: Encodes prompts.
        common: What all clips have in common.
        frames_per_batch: Frames that are denoised together.
    """

    model: LoadedModel
    encode: PromptEncoder
    common: ClipSettings
    frames_per_batch: int = 16

    def specs(self, takes: Sequence[Take], changes: Mapping[str, Any]) -> list[ClipSpec]:
        """Describe clips of takes, some of their settings changed."""
        settings = dict(self.common) | dict(changes)
        uri = self.model.identity.uri
        return [
            ClipSpec(clip_id=take.name, prompt=take.prompt, seed=take.seed, model=uri, **settings)
            for take in takes
        ]


@dataclass(frozen=True)
class Shot:
    """A method that makes clips.

    Attributes:
        what: What it does, in one line.
        make: Makes the clips of some takes.
        settings: What it is asked for beside what all clips have in common.
        of_others: Whether it is for the other takes of a `Cast`, those of the reference.
        side_by_side: Whether a batch holds one frame each of several clips, and not several frames
            of one.
    """

    what: str
    make: Callable[[Studio, Sequence[Take]], list[Frames]]
    settings: Mapping[str, JsonValue] = field(default_factory=dict)
    of_others: bool = False
    side_by_side: bool = False


@dataclass(frozen=True)
class Edit:
    """A method that makes each of its clips of another method's clip of the same take.

    Attributes:
        what: What it does, in one line.
        source: Name of the other method.
        change: Makes the clip.
    """

    what: str
    source: str
    change: Callable[[Frames, Take], Frames]


Method = Shot | Edit


def methods(common: ClipSettings) -> dict[str, Method]:
    """Give every method by its name.

    Args:
        common: What all clips have in common.
    """
    zoom = {"motion": Motion.model_validate({"zoom": ZOOM_A_FRAME})}
    pan = {"motion": Motion.model_validate({"translation_x": PAN_A_FRAME * common.width})}
    loose = FeedbackSettings(strength=LOOSE_FEEDBACK)
    return {
        "reference": Shot("real films of other prompts", real_films, of_others=True),
        "real": Shot("real films of these prompts", real_films),
        "real-shuffled": Edit("real films, their frames in random order", "real", shuffled),
        "real-frozen": Edit("frame 0 of real films, again and again", "real", frozen),
        "real-autoencoded": Shot(
            "real films of these prompts, encoded and decoded by the model's autoencoder",
            autoencoded_films,
        ),
        "frozen": Edit("frame 0, again and again", "coupled", frozen),
        "shuffled": Edit("our clips, their frames in random order", "coupled", shuffled),
        "independent": _ours("every frame of its own noise", INDEPENDENT),
        "same-noise": _ours(
            "all frames of one noise: frame 0 again, unless the scheduler adds noise of its own",
            {"noise_correlation": 1.0} | UNCOUPLED,
        ),
        "correlated-noise": _ours("correlated noise and nothing else", UNCOUPLED),
        "coupled": _ours("the defaults: correlated noise and coupling", {}),
        "coupled-loose": _ours("loose coupling of noise that changes faster", LOOSE),
        "coupled-first": _ours("also attention to frame 0", {"attention": "first"}),
        "coupled-first-prev": _ours(
            "also attention to frame 0 and to the frame before", {"attention": "first+prev"}
        ),
        "coupled-zoom": _ours("stiff coupling, and the camera comes closer", STIFF | zoom),
        "coupled-pan": _ours("stiff coupling, and the camera goes to the right", STIFF | pan),
        "serial": Shot(
            "each frame coupled to the finished frame before it", in_series, side_by_side=True
        ),
        "feedback": _feedback("image-to-image feedback as in Deforum", FeedbackSettings()),
        "feedback-loose": _feedback("the same with half of the steps", loose),
        "feedback-zoom": _feedback(
            "the same, and the camera comes closer", FeedbackSettings(), zoom
        ),
        "text2video-zero": Shot(
            "Text2Video-Zero as in diffusers", zero_clips, ZeroSettings().model_dump(mode="json")
        ),
    }


def _ours(what: str, changes: Mapping[str, Any]) -> Shot:
    return Shot(what, partial(propagated, changes=changes), _as_json(changes))


def _feedback(
    what: str, settings: FeedbackSettings, changes: Mapping[str, Any] | None = None
) -> Shot:
    make = partial(feedback_clips, settings=settings, changes=changes or {})
    asked = settings.model_dump(mode="json") | _as_json(changes or {})
    return Shot(what, make, asked, side_by_side=True)


def _as_json(changes: Mapping[str, Any]) -> dict[str, JsonValue]:
    settings = ClipSettings(**changes).model_dump(mode="json")
    return {name: settings[name] for name in changes}


def real_films(studio: Studio, takes: Sequence[Take]) -> list[Frames]:
    """Give the films that the prompts describe.

    Raises:
        InputError: A take has none.
    """
    return [_real_film(studio, take) for take in takes]


def autoencoded_films(studio: Studio, takes: Sequence[Take]) -> list[Frames]:
    """Give the films that the prompts describe as the model's autoencoder sees them.

    Raises:
        InputError: A take has none.
    """
    return [reconstructed(studio.model.pipeline.vae, film) for film in real_films(studio, takes)]


def _real_film(studio: Studio, take: Take) -> Frames:
    if take.film is None:
        raise InputError(
            f"there is no real film of {take.name!r}. Name one in the file of prompts, or leave "
            "out the methods that show real films"
        )
    return take.film(studio.common)


def propagated(studio: Studio, takes: Sequence[Take], changes: Mapping[str, Any]) -> list[Frames]:
    """Render clips by propagation, some of the settings changed."""
    return rendered(
        studio.model,
        studio.encode,
        studio.specs(takes, changes),
        lambda share: None,
        studio.frames_per_batch,
    )


def in_series(studio: Studio, takes: Sequence[Take]) -> list[Frames]:
    """Render clips whose frames are coupled to finished frames."""
    return rendered_in_series(studio.model, studio.encode, studio.specs(takes, {}))


def feedback_clips(
    studio: Studio,
    takes: Sequence[Take],
    settings: FeedbackSettings,
    changes: Mapping[str, Any],
) -> list[Frames]:
    """Render clips by image-to-image feedback."""
    return fed_back(studio.model, studio.encode, studio.specs(takes, changes), settings)


def zero_clips(studio: Studio, takes: Sequence[Take]) -> list[Frames]:
    """Render clips by Text2Video-Zero, which takes one at a time."""
    zero = text2video_zero(studio.model)
    return [zero_clip(studio.model, zero, spec, ZeroSettings()) for spec in studio.specs(takes, {})]


def frozen(frames: Frames, take: Take) -> Frames:
    """Repeat frame 0."""
    return np.repeat(frames[:1], len(frames), axis=0)


def shuffled(frames: Frames, take: Take) -> Frames:
    """Put frames in an order that is random, but the same at every call."""
    order = np.random.default_rng([take.seed, len(frames)]).permutation(len(frames))
    return frames[order]
