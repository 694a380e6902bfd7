"""What the studies render: held-out prompts of the drawn world, so that the truth is known."""

from dataclasses import dataclass
from itertools import count, islice
from typing import Any

from tempprop.mini.classifier import answers_of
from tempprop.mini.held_out import HELD_OUT
from tempprop.mini.stills import captions_at, scene_at
from tempprop.mini.world import Scene
from tempprop.spec import ClipSpec


@dataclass(frozen=True)
class Subject:
    """A prompt with the scene that it describes.

    Attributes:
        prompt: A caption of the scene.
        scene: The truth.
        seed: Key of the noise, the same for every setting.
    """

    prompt: str
    scene: Scene
    seed: int

    def is_shown(self, answer: dict[str, str]) -> bool:
        """Tell whether the classifier saw the thing before the background that was prompted."""
        truth = answers_of(self.scene)
        return all(answer[name] == truth[name] for name in ("thing", "background"))


def subjects(number: int) -> tuple[Subject, ...]:
    """Give the first large things of the held-out sequence.

    Small things are often misdrawn by the embedded model, whatever the settings are, and would
    drown the differences between them.

    Args:
        number: How many.
    """
    scenes = ((index, scene_at(index, HELD_OUT)) for index in count())
    large = ((index, scene) for index, scene in scenes if scene.size == "large")
    return tuple(
        Subject(captions_at(index, HELD_OUT, 1)[0], scene, seed=index)
        for index, scene in islice(large, number)
    )


def clip_of(subject: Subject, clip_id: str, **settings: Any) -> ClipSpec:
    """Describe the clip of a subject under some settings, all others being the defaults.

    Args:
        subject: What it shows.
        clip_id: Name of the clip.
        settings: Fields of `ClipSpec`.

    Raises:
        ValidationError: A setting is out of its range.
    """
    return ClipSpec(
        clip_id=clip_id, prompt=subject.prompt, seed=subject.seed, model="mini", **settings
    )
