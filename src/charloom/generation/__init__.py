"""From a model to text: prompts read, characters chosen, samples written, and both shown safely."""

from charloom.generation.filters import draw, next_distribution
from charloom.generation.html import Marks, marked_parts, samples_page
from charloom.generation.prompts import UnknownPolicy, encode_prompt
from charloom.generation.rows import FinishReason
from charloom.generation.session import Session
from charloom.generation.visible import isolated, sign, visible
from charloom.generation.writer import Piece, Sample, Writing, sample, write

__all__ = [
    "FinishReason",
    "Marks",
    "Piece",
    "Sample",
    "Session",
    "UnknownPolicy",
    "Writing",
    "draw",
    "encode_prompt",
    "isolated",
    "marked_parts",
    "next_distribution",
    "sample",
    "samples_page",
    "sign",
    "visible",
    "write",
]
