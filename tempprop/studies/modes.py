"""Draws what the settings do: the same prompts, frame by frame, in every mode.

``python -m tempprop.studies.modes`` writes `docs/modes.png`.
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from PIL import Image
from rich.console import Console
from rich.progress import track

from tempprop.frames import Frames
from tempprop.mini.captions import BACKGROUND_WORDS, LIGHT_WORDS
from tempprop.mini.world import Scene, draw, place, stands
from tempprop.pipeline import load_pipeline
from tempprop.prompts import prompt_encoder
from tempprop.spec import ClipSpec, Motion, PromptKeyframe
from tempprop.studies.films import rendered
from tempprop.studies.methods import INDEPENDENT, STIFF, UNCOUPLED
from tempprop.studies.modes_sheet import Block, Strip, write_modes_sheet

CAST = (
    ("balloon", "red", "hills"),
    ("boat", "blue", "sea"),
    ("flower", "pink", "desert"),
    ("mushroom", "red", "snow"),
    ("butterfly", "purple", "hills"),
    ("cactus", "green", "desert"),
    ("car", "orange", "city"),
    ("apple", "yellow", "mountains"),
)
"""Thing, color and background of each row: what the embedded model draws well."""

CLOSER = STIFF | {"motion": Motion.model_validate({"zoom": 1.06})}

app = typer.Typer()


@dataclass(frozen=True)
class Mode:
    """One block of the sheet.

    Attributes:
        title: Its name.
        note: What there is to see.
        settings: Gives the fields of `ClipSpec` for a scene and the picture of it that was drawn.
        shows_picture: Whether this picture goes before the frames.
        closes: Whether frame 0 is shown once more behind the last frame.
    """

    title: str
    note: str
    settings: Callable[[Scene, Path], dict[str, Any]]
    shows_picture: bool = False
    closes: bool = False


def scene_of(thing: str, color: str, background: str) -> Scene:
    """Put a large thing in the middle of a background, by day."""
    height = "ground" if stands(thing, background) else "middle"
    scene = Scene(thing, color, "large", "center", height, background, "day", x=0.5, y=0.5)
    return place(scene)


def prompt_of(scene: Scene, light: str = "day") -> str:
    """Describe a scene, or the same at another hour."""
    background, hour = BACKGROUND_WORDS[scene.background][0], LIGHT_WORDS[light][0]
    return f"a large {scene.color} {scene.thing} in the middle {background} {hour}"


def modes(num_frames: int) -> list[Mode]:
    """Give the blocks of the sheet, in order.

    Args:
        num_frames: Length of every clip.
    """
    return [
        Mode(
            "Independent frames",
            "every frame from its own noise",
            lambda scene, picture: INDEPENDENT,
        ),
        Mode(
            "Correlated noise only",
            "neighbors start from similar noise, and nothing else holds them together",
            lambda scene, picture: UNCOUPLED,
        ),
        Mode(
            "Coupling",
            "the defaults: the same thing changes slowly",
            lambda scene, picture: {},
        ),
        Mode(
            "Coupling and attention",
            "frames also read the features of those before",
            lambda scene, picture: {"attention": "first+prev"},
        ),
        Mode(
            "Zoom",
            "the camera comes closer by 6 % a frame",
            lambda scene, picture: CLOSER,
        ),
        Mode(
            "Prompt travel",
            "“by day” becomes “at night”",
            # The colors of the day would be kept in part at night.
            lambda scene, picture: {
                "prompts": (_night(scene, num_frames - 1),),
                "color_coherence": 0.0,
            },
        ),
        Mode(
            "Loop",
            "the last frame leads back to the first, which is shown again",
            lambda scene, picture: {"loop": True},
            closes=True,
        ),
        Mode(
            "Init image",
            "a drawn picture, on the left, comes to life",
            lambda scene, picture: {"init_image": str(picture)},
            shows_picture=True,
        ),
    ]


def _night(scene: Scene, frame: int) -> PromptKeyframe:
    return PromptKeyframe(frame=frame, prompt=prompt_of(scene, "night"))


def strip(mode: Mode, frames: Frames, picture: Frames) -> Strip:
    """Lay out a clip as its mode asks for, with the picture of the scene that was drawn."""
    return Strip(
        frames,
        before=picture if mode.shows_picture else None,
        after=frames[0] if mode.closes else None,
    )


def save_pictures(pictures: Sequence[Frames], directory: Path) -> list[Path]:
    """Write pictures as PNG files, named by their number."""
    paths = [directory / f"{number}.png" for number in range(len(pictures))]
    for picture, path in zip(pictures, paths, strict=True):
        Image.fromarray(picture).save(path)
    return paths


@app.command(name="modes")
def draw_modes(
    out: Annotated[Path, typer.Option(help="Directory of the picture.")] = Path("docs"),
    prompts: Annotated[int, typer.Option(min=1, max=len(CAST), help="Rows a block.")] = len(CAST),
    frames: Annotated[int, typer.Option(min=2, help="Frames a clip.")] = 8,
    steps: Annotated[int, typer.Option(min=1, help="Denoising steps.")] = 12,
) -> None:
    """Draw what each mode makes of the same prompts."""
    model = load_pipeline("mini")
    encoder = prompt_encoder(model)
    scenes = [scene_of(*row) for row in CAST[:prompts]]
    pictures = [draw(scene) for scene in scenes]
    blocks = []
    with tempfile.TemporaryDirectory() as directory:
        files = save_pictures(pictures, Path(directory))
        for mode in track(modes(frames), console=Console(stderr=True)):
            specs = [
                ClipSpec(
                    clip_id=str(number),
                    prompt=prompt_of(scene),
                    seed=number,
                    model="mini",
                    num_frames=frames,
                    num_inference_steps=steps,
                    **mode.settings(scene, file),
                )
                for number, (scene, file) in enumerate(zip(scenes, files, strict=True))
            ]
            clips = rendered(model, encoder, specs, lambda share: None)
            strips = [
                strip(mode, clip, picture) for clip, picture in zip(clips, pictures, strict=True)
            ]
            blocks.append(Block(mode.title, mode.note, strips))
    out.mkdir(parents=True, exist_ok=True)
    write_modes_sheet(blocks, [prompt_of(scene) for scene in scenes], out / "modes.png")


if __name__ == "__main__":
    app()
