"""What a version must reach before it is published, and what it is measured on where nobody brings sentences."""

from __future__ import annotations

TOLERANCES = {"fp32": 1e-3, "int8": 5e-2}
"""Of a log-probability on another processor; a rounding that falls the other way moves an int8 one further."""

SMALLEST_AGREEMENT = 0.99
"""Share of greedy targets that must be the torch model's; the rest may be ties."""

LARGEST_QUANTIZATION_COST = 0.05
"""Share of tokens that the 8-bit form may choose otherwise, after the same target so far."""

BUILT_IN_SENTENCES = (
    "A man rides a bicycle.",
    "Two dogs play in the snow.",
    "A child is eating an apple at the table.",
    "Three women stand in front of an old house and talk.",
    "A boy in a red shirt jumps into the water.",
    "People are waiting for the train at a station.",
    "A woman with a yellow umbrella crosses the wet street.",
    "The brown dog runs across a field with a stick in its mouth.",
    "An old man sits on a bench in the park and reads a newspaper.",
    "Several children are playing football on the beach.",
    "A musician plays the guitar on a small stage at night.",
    "Two workers in helmets repair the roof of a tall building.",
)
