"""Text: bytes → characters → ids.

`read_corpus` does it in one call: it finds the sources, decodes and cleans them, splits them into documents, builds
the vocabulary and splits the ids. `prepare` does the same for texts larger than memory.
"""

from charloom.text.catalogue import KNOWN, KnownCorpus, corpus_parts, get_corpus, list_corpora
from charloom.text.corpus import Corpus
from charloom.text.decode import Decoded, decode_bytes
from charloom.text.inputs import is_documents
from charloom.text.load import builtin_corpus, corpus_from_text, read_corpus, read_text, read_texts
from charloom.text.normalise import clean
from charloom.text.oov import Scoring, encode_for_scoring, unseen_nats
from charloom.text.pipes import can_be_read_once
from charloom.text.preparation import check_prepared, prepare
from charloom.text.prepared import is_prepared, open_prepared, write_prepared
from charloom.text.vocabulary import BOUNDARY, UNK, Vocabulary, build_vocabulary, bytes_per_id

__all__ = [
    "BOUNDARY",
    "KNOWN",
    "UNK",
    "Corpus",
    "Decoded",
    "KnownCorpus",
    "Scoring",
    "Vocabulary",
    "build_vocabulary",
    "builtin_corpus",
    "bytes_per_id",
    "can_be_read_once",
    "check_prepared",
    "clean",
    "corpus_from_text",
    "corpus_parts",
    "decode_bytes",
    "encode_for_scoring",
    "get_corpus",
    "is_documents",
    "is_prepared",
    "list_corpora",
    "open_prepared",
    "prepare",
    "read_corpus",
    "read_text",
    "read_texts",
    "unseen_nats",
    "write_prepared",
]
