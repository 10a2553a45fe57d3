"""Text generation: encode prompts, sample characters, stream the samples, and display text safely in a terminal."""

from charloom.generation.dialogue import Dialogue
from charloom.generation.distinct import DistinctSamples
from charloom.generation.escape import isolated, sign, visible
from charloom.generation.filters import draw, next_distribution
from charloom.generation.generate import Generation, Piece, Sample, generate, sample
from charloom.generation.prompts import UnknownPolicy, encode_prompt
from charloom.generation.sample_text import FinishReason
from charloom.generation.session import Session
from charloom.generation.stops import stop_texts

__all__ = [
    "Dialogue",
    "DistinctSamples",
    "FinishReason",
    "Generation",
    "Piece",
    "Sample",
    "Session",
    "UnknownPolicy",
    "draw",
    "encode_prompt",
    "generate",
    "isolated",
    "next_distribution",
    "sample",
    "sign",
    "stop_texts",
    "visible",
]
