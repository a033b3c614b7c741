"""Read the values that a model was asked for from what it wrote."""

from declm.formats.parsing.align import Members
from declm.formats.parsing.members import parse_field, parse_members
from declm.formats.parsing.nodes import DEPTH_LIMIT, Repair
from declm.formats.parsing.parse import SIZE_LIMIT, Parsed, parse
from declm.formats.parsing.partial import NOTHING, beginning, checked, parse_partial, partial_members, read_partial
from declm.formats.parsing.scalars import is_null
from declm.formats.parsing.schemas import described, shape_of
from declm.formats.parsing.shapes import TEXT, Member, Record, Scalar, Shape

__all__ = [
    "DEPTH_LIMIT",
    "NOTHING",
    "SIZE_LIMIT",
    "TEXT",
    "Member",
    "Members",
    "Parsed",
    "Record",
    "Repair",
    "Scalar",
    "Shape",
    "beginning",
    "checked",
    "described",
    "is_null",
    "parse",
    "parse_field",
    "parse_members",
    "parse_partial",
    "partial_members",
    "read_partial",
    "shape_of",
]
