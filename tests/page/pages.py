"""Pages of small models, and what is inside a page."""

import base64
import gzip
import json
import re
from dataclasses import replace

import numpy as np

from charloom.config import TextConfig
from charloom.modelfile import ModelFile
from charloom.page import PageText, page_of
from charloom.text.vocabulary import Vocabulary

from ..engines.cases import random_parameters


def model_of(config, rng, *, vocab=None, text_config=None, card=None):
    """A model with random weights of the size that trained ones have."""
    vocab = vocab or Vocabulary.from_text("abcdefg")
    params = random_parameters(config, rng, len(vocab), scale=0.4)
    params = {name: np.asarray(p, np.float32) for name, p in params.items()}
    return ModelFile(
        parameters=params,
        model_config=config,
        vocab=vocab,
        text_config=text_config or TextConfig(),
        card=card or {},
    )


def as_stored(model, precision):
    """The model with the weights that a page of a precision holds."""
    if precision != "float16":
        return model
    halves = {name: p.astype(np.float16).astype(np.float32) for name, p in model.parameters.items()}
    return replace(model, parameters=halves)


def page(model, precision="float16", **text):
    return page_of(model, PageText(**({"title": "A model"} | text)), precision=precision)


def block(html, name):
    """The content of a data block of a page."""
    return re.search(rf'<script type="[^"]*" id="{name}">(.*?)</script>', html, re.DOTALL).group(1)


def described(html):
    return json.loads(block(html, "model"))


def unpacked(html, name):
    return gzip.decompress(base64.b64decode(block(html, name)))
