"""The contract of a manifest: its columns and their Arrow types."""

import pyarrow as pa

from tempprop.spec import Motion

TEXT = pa.string()
INTEGER = pa.int64()
NUMBER = pa.float64()
BOOLEAN = pa.bool_()
LORAS = pa.list_(pa.struct([("path", TEXT), ("weight", NUMBER)]))
TAGS = pa.map_(TEXT, TEXT)
PROMPTS = pa.list_(pa.struct([("frame", INTEGER), ("prompt", TEXT)]))
MOTION = pa.struct([(name, TEXT) for name in Motion.model_fields])

MANIFEST_SCHEMA = pa.schema(
    [
        pa.field("clip_id", TEXT, nullable=False),
        pa.field("prompt", TEXT, nullable=False),
        ("negative_prompt", TEXT),
        ("seed", INTEGER),
        ("num_frames", INTEGER),
        ("fps", NUMBER),
        ("width", INTEGER),
        ("height", INTEGER),
        ("num_inference_steps", INTEGER),
        ("guidance_scale", NUMBER),
        ("prompts", PROMPTS),
        ("prompt_interpolation", TEXT),
        ("init_image", TEXT),
        ("motion", MOTION),
        ("loop", BOOLEAN),
        ("noise_correlation", NUMBER),
        ("propagation_strength", NUMBER),
        ("propagation_end", NUMBER),
        ("propagation_keeps", TEXT),
        ("propagation_low_pass", NUMBER),
        ("anchor_weight", NUMBER),
        ("keyframe_interval", INTEGER),
        ("color_coherence", NUMBER),
        ("motion_floor", NUMBER),
        ("attention", TEXT),
        ("model", TEXT),
        ("loras", LORAS),
        ("priority", INTEGER),
        ("project", TEXT),
        ("tags", TAGS),
    ]
)
"""Every column of a manifest, in the order in which `write_manifest` writes them."""

REQUIRED_COLUMNS = ("clip_id", "prompt")

KIND_NAMES = {
    TEXT: "text",
    INTEGER: "whole numbers",
    NUMBER: "numbers",
    BOOLEAN: "true or false",
    LORAS: "lists of {path, weight}",
    TAGS: "maps of text to text",
    PROMPTS: "lists of {frame, prompt}",
    MOTION: f"structs of {', '.join(Motion.model_fields)}",
}


def kind_name(column: str) -> str:
    """Say in words what type a column has."""
    return KIND_NAMES[MANIFEST_SCHEMA.field(column).type]


def type_fits(column: str, found: pa.DataType) -> bool:
    """Tell whether cells of an Arrow type can stand in a column.

    Widths do not matter, nor do dictionaries (pandas categories). Whole numbers may come as
    floats, which is what pandas makes of a column of integers with gaps. `tags` may be a map, a
    struct of texts (pandas) or a list of {key, value} (Polars). The fields of `motion` may be
    numbers or texts. A column in which every value is null has no type to speak of and always fits.
    """
    wanted = MANIFEST_SCHEMA.field(column).type
    if pa.types.is_null(found):
        return True
    if pa.types.is_dictionary(found):
        return type_fits(column, found.value_type)
    if wanted in (TEXT, INTEGER, NUMBER):
        return _is_text(found) if wanted == TEXT else _is_numeric(found)
    if wanted == BOOLEAN:
        return bool(pa.types.is_boolean(found))
    if wanted == MOTION:
        return bool(pa.types.is_struct(found))
    return (wanted == TAGS and _is_mapping(found)) or _is_list_of_mappings(found)


def _is_text(found: pa.DataType) -> bool:
    types = pa.types
    return bool(
        types.is_string(found) or types.is_large_string(found) or types.is_string_view(found)
    )


def _is_numeric(found: pa.DataType) -> bool:
    types = pa.types
    return bool(types.is_integer(found) or types.is_floating(found) or types.is_decimal(found))


def _is_mapping(found: pa.DataType) -> bool:
    return bool(pa.types.is_map(found) or pa.types.is_struct(found))


def _is_list_of_mappings(found: pa.DataType) -> bool:
    types = pa.types
    is_list = types.is_list(found) or types.is_large_list(found) or types.is_fixed_size_list(found)
    return is_list and bool(types.is_struct(found.value_type) or types.is_null(found.value_type))
