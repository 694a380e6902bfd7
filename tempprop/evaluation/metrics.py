"""The table of metrics: what each is called, how it is written, and what it is good for.

It loads nothing, so that the command line can name metrics without OpenCV or torch.
"""

from dataclasses import dataclass
from typing import Literal

Better = Literal["lower", "higher", "one", "neither"]

ARROWS: dict[Better, str] = {"lower": "↓", "higher": "↑", "one": "→1", "neither": ""}


@dataclass(frozen=True)
class Metric:
    """A figure of a directory of clips.

    Attributes:
        name: What it is called on the command line and in JSON.
        title: What people call it.
        form: How a value is written, in Python's format language.
        better: Which way is better; "one" is a ratio that is to stay, "neither" a matter of taste.
        instrument: What measures it, by its name in `tempprop.evaluation.instruments`.
        meaning: What it says and where it comes from, a sentence or two of Markdown.
        unit: What it is measured in; empty for a number without one.
        of_sets: Whether it compares all clips with the reference, rather than being a mean over
            the figures of clips.
    """

    name: str
    title: str
    form: str
    better: Better
    instrument: str
    meaning: str
    unit: str = ""
    of_sets: bool = False

    @property
    def heading(self) -> str:
        """Title, unit and direction."""
        named = f"{self.title}, {self.unit}" if self.unit else self.title
        return f"{named} {ARROWS[self.better]}".rstrip()


METRICS = (
    Metric(
        "fvd",
        "FVD",
        ".1f",
        "lower",
        "i3d",
        "Fréchet video distance to the reference (Unterthiner et al. 2018): of the logits of I3D, "
        "in the protocol of StyleGAN-V (Skorokhodov et al. 2022), of the first frames of each "
        "clip; shorter clips are left out. It falls as the number of clips grows, on either side: "
        "only values of the same numbers of clips, frames and the same reference compare. It hears "
        "pictures more than motion (Ge et al. 2024).",
        of_sets=True,
    ),
    Metric(
        "fvmd",
        "FVMD",
        ".1f",
        "lower",
        "tracks",
        "Fréchet video motion distance to the reference (Liu et al. 2024): of where, in which "
        "directions and how evenly the points of a grid move, and of nothing else. Tracks are "
        "chained out of optical flow (DIS) instead of PIPs++, so that values do not compare with "
        "theirs; it has FVD's bias.",
        of_sets=True,
    ),
    Metric(
        "fid",
        "FID",
        ".1f",
        "lower",
        "inception",
        "Fréchet inception distance to the reference (Heusel et al. 2017), of four evenly spaced "
        "frames of each clip. It says nothing about motion, and has FVD's bias.",
        of_sets=True,
    ),
    Metric(
        "lpips",
        "LPIPS of neighbors",
        ".4f",
        "lower",
        "lpips",
        "perceptual distance of neighboring frames (Zhang et al. 2018, AlexNet, version 0.1). "
        "Motion counts too: a still clip is best.",
    ),
    Metric(
        "consistency",
        "consistency with frame 0",
        ".4f",
        "higher",
        "inception",
        "mean cosine of the features of InceptionV3 of frame 0 and three more, evenly spaced: "
        "VBench's subject consistency has those of DINO and all frames, so that values do not "
        "compare with its. A still clip is best.",
    ),
    Metric(
        "warping_error",
        "warping error",
        ".5f",
        "lower",
        "pictures",
        "mean square difference (values 0 to 1) of a frame and the next one brought back along the "
        "optical flow, where pixels can be followed (Lai et al. 2018; flow and occlusions by DIS).",
    ),
    Metric(
        "flicker",
        "flicker",
        ".3%",
        "lower",
        "pictures",
        "amplitude of what changes back and forth from frame to frame: the filter [1, −2, 1]/4 "
        "over time, gain sin²(ω/2), in which an even change does not count.",
    ),
    Metric(
        "neighbor_difference",
        "neighbor difference",
        ".2%",
        "lower",
        "pictures",
        "mean absolute difference of neighboring frames; VBench's temporal flickering (Huang et "
        "al. 2024) is 100 % minus it. Motion counts too: a still clip is best.",
    ),
    Metric(
        "jump",
        "jump",
        ".2f",
        "one",
        "pictures",
        "the largest difference of neighboring frames over the mean one; much more than 1 is a "
        "cut.",
    ),
    Metric(
        "motion",
        "motion",
        ".2f",
        "neither",
        "pictures",
        "mean optical flow (DIS, Kroeger et al. 2016). Flow between frames that have nothing to do "
        "with each other is large too: it counts for something only where the warping error is "
        "small.",
        unit="px/frame",
    ),
    Metric(
        "motion_share",
        "motion",
        ".2%",
        "neither",
        "pictures",
        "the same as a share of the picture's diagonal, for pictures of several sizes.",
        unit="of the diagonal",
    ),
    Metric(
        "dynamic_degree",
        "dynamic",
        ".0%",
        "neither",
        "pictures",
        "share of clips in which at least a quarter of the frames moves: the longest 5 % of the "
        "flow above 6 px per 256 (VBench's dynamic degree, Huang et al. 2024, with DIS for RAFT).",
    ),
    Metric(
        "frozen",
        "frozen",
        ".1%",
        "lower",
        "pictures",
        "share of frames that equal the one before, up to one level of 255.",
    ),
    Metric(
        "color_drift",
        "color drift",
        ".3f",
        "lower",
        "pictures",
        "largest distance of a frame's mean color to frame 0's; black and white are 1 apart.",
    ),
    Metric(
        "sharpness",
        "sharpness",
        ".2f",
        "one",
        "pictures",
        "energy of the Laplacian of the luma as a multiple of frame 0's: below 1 the clip blurs.",
    ),
    Metric(
        "recognized",
        "recognized",
        ".1%",
        "higher",
        "classifier",
        "share of frames in which the classifier of the embedded model's world sees the thing and "
        "the background of the prompt; only of clips with a prompt in that world's words.",
    ),
)

BY_NAME = {metric.name: metric for metric in METRICS}
