"""Configurations: a model and a look, as YAML files by name or by path.

A file says only what differs from the defaults of `RenderConfig`.
"""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from importlib import resources
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from tempprop.errors import ConfigError
from tempprop.manifest_columns import nearest, shown
from tempprop.manifest_files import without_credentials
from tempprop.objects import open_filesystem
from tempprop.spec import CREDENTIALS_IN_CONFIG, RenderConfig
from tempprop.storage_faults import diagnose, is_remote_fault, one_line

SUFFIXES = (".yaml", ".yml")


def load_config(name_or_path: str, overrides: Sequence[str] = ()) -> RenderConfig:
    """Read a configuration and change single values of it.

    Args:
        name_or_path: One of `config_names()`; or a YAML file as a path or fsspec URI, which ends
            in `.yaml` or `.yml` or has a slash in it.
        overrides: Changes such as `clip.fps=12`, applied in order. The right side is YAML; an
            empty one is null. A mapping replaces the whole of what was there.

    Returns:
        The configuration, with defaults for everything that it does not say.

    Raises:
        ConfigError: If there is no such configuration, it is not YAML, or a key is unknown or has
            a value of the wrong type. All bad keys are named.
        InputError: The picture of its watermark cannot be read.
    """
    values = _parse(_read(name_or_path), without_credentials(name_or_path))
    if not isinstance(values, dict):
        raise ConfigError(f"{without_credentials(name_or_path)}: must hold keys and values")
    for override in overrides:
        _apply(override, values)
    try:
        return _with_digests(RenderConfig.model_validate(values))
    except ValidationError as error:
        lines = [
            f"configuration {without_credentials(name_or_path)}:",
            *map(_describe, error.errors()),
        ]
        raise ConfigError("\n  ".join(lines)) from error


def _with_digests(config: RenderConfig) -> RenderConfig:
    """Look up the digests of a watermark's picture and font, which are part of the clips' keys."""
    if config.watermark is None:
        return config
    from tempprop.watermark import with_digests  # noqa: PLC0415 - for those who have one

    return config.model_copy(update={"watermark": with_digests(config.watermark)})


def config_names() -> list[str]:
    """List the configurations that come with tempprop, sorted."""
    files = (entry.name for entry in resources.files("configs").iterdir())
    return sorted(name.removesuffix(".yaml") for name in files if name.endswith(".yaml"))


def _read(name_or_path: str) -> bytes:
    if not name_or_path.endswith(SUFFIXES) and "/" not in name_or_path:
        return _read_named(name_or_path)
    try:
        filesystem, path = open_filesystem(name_or_path)
        return bytes(filesystem.cat_file(path))
    except Exception as error:  # every fsspec driver raises its own
        _, reason, remedy = diagnose(error)
        name = without_credentials(name_or_path)
        advice = remedy if is_remote_fault(error) else _choices(name_or_path)
        raise ConfigError(
            f"the configuration {name} cannot be read: {reason} ({one_line(error)}). {advice}"
        ) from error


def _read_named(name: str) -> bytes:
    if name not in config_names():
        raise ConfigError(f"there is no configuration {name!r}. {_choices(name)}")
    return (resources.files("configs") / f"{name}.yaml").read_bytes()


def _choices(name: str) -> str:
    names = config_names()
    guess = nearest(name, names)
    hint = f"Did you mean {guess!r}? " if guess else ""
    return f"{hint}There are {', '.join(names)}, or give the path of a YAML file"


class _Loader(yaml.SafeLoader):
    """Builds plain values only, and refuses a key that stands twice in a mapping."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for key in keys:
            if keys.count(key) > 1:
                problem = f"the key {key!r} stands there twice"
                raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        return super().construct_mapping(node, deep)


def _parse(text: bytes | str, origin: str) -> Any:
    """Read YAML; nothing at all is an empty mapping."""
    try:
        values = yaml.load(text, _Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{origin} is not proper YAML: {error}") from error
    return {} if values is None else values


def _apply(override: str, values: dict[str, Any]) -> None:
    """Set the value at a dotted key, and make the mappings on the way to it."""
    dotted, equals, text = override.partition("=")
    *parents, last = dotted.strip().split(".")
    if not equals or not last:
        raise ConfigError(f"{override!r} is not of the form key=value, such as clip.fps=12")
    for parent in parents:
        if not isinstance(values.get(parent), dict):
            values[parent] = {}
        values = values[parent]
    values[last] = None if not text.strip() else _parse(text, override)


def _describe(error: Mapping[str, Any]) -> str:
    """Write one of pydantic's findings as a line that names the whole key."""
    key = ".".join(map(str, error["loc"]))
    if error["type"] == "extra_forbidden":
        guess = _nearest_key(key)
        hint = f"did you mean {guess}?" if guess else "see RenderConfig for the keys there are"
        return f"{key}: there is no such key; {hint}"
    message = str(error["msg"]).removeprefix("Input ")
    if error["type"] == CREDENTIALS_IN_CONFIG:
        return f"{key}: {message}"
    return f"{key}: {message} (value: {shown(error['input'])})"


def _nearest_key(key: str) -> str | None:
    """Find a key that ends in the same word, or else one that is spelled alike."""
    known = list(_known_keys(RenderConfig))
    last = key.rpartition(".")[2]
    by_word = {candidate.rpartition(".")[2]: candidate for candidate in reversed(known)}
    if last in by_word:
        return by_word[last]
    # People who know diffusers a little write steps for num_inference_steps.
    if parts := [word for word in by_word if last in word.split("_")]:
        return by_word[parts[0]]
    return nearest(key, known) or by_word.get(nearest(last, list(by_word)) or "")


def _known_keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield prefix + name
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from _known_keys(kind, f"{prefix}{name}.")
