"""The page of a study: one file without anything from outside, and without anything to give away.

Its content security policy names its own script and its own style by their digests, allows clips
that it holds itself, and forbids everything else: it can load nothing and send nothing.
"""

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from tempprop.blind_study.browser_copies import BrowserCopy
from tempprop.blind_study.documents import StudyKey

TEMPLATE = "study.html.jinja"


def study_page(
    key: StudyKey, clips: Mapping[str, BrowserCopy], prompts: Sequence[str | None]
) -> Iterator[str]:
    """Write the page of a study.

    Args:
        key: Of the study; its tokens and its title go into the page, and what they mean does not.
        clips: The clip of each side, by its token.
        prompts: What each trial shows; None for no text.

    Yields:
        The page, piece by piece.
    """
    loader = PackageLoader("tempprop.blind_study", "page")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    style, script = (_source(environment, name) for name in ("study.css", "study.js"))
    return environment.get_template(TEMPLATE).generate(
        title=key.title,
        policy=_policy(style, script),
        style=Markup(style),
        script=Markup(script),
        count=len(key.trials),
        study=_for_the_page(key, clips, prompts),
        clips=((token, base64.b64encode(clip.content).decode()) for token, clip in clips.items()),
    )


def _source(environment: Environment, name: str) -> str:
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0]


def _policy(style: str, script: str) -> str:
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src {_source_hash(script)}",
            f"style-src {_source_hash(style)}",
            "media-src blob:",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )


def _source_hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"


def _for_the_page(
    key: StudyKey, clips: Mapping[str, BrowserCopy], prompts: Sequence[str | None]
) -> dict[str, object]:
    return {
        "study_id": key.study_id,
        "trials": [
            {
                "trial": trial.trial,
                "block": trial.block,
                "prompt": prompt,
                "sides": [
                    {
                        "token": token,
                        "media_type": clips[token].media_type,
                        "fps": clips[token].fps,
                    }
                    for token in trial.sides
                ],
            }
            for trial, prompt in zip(key.trials, prompts, strict=True)
        ],
    }
