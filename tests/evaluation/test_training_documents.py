import pytest

from charloom.config import TextConfig
from charloom.evaluation import TrainingDocuments
from charloom.text import corpus_from_text


@pytest.mark.parametrize("val_fraction", [0.0, 0.5])
def test_documents_are_found_whole_or_by_their_beginning(val_fraction):
    text = "".join(f"{char}x\n{char}xy\n" for char in "abcd")
    documents = TrainingDocuments(
        corpus_from_text(text, TextConfig(documents="line", val_fraction=val_fraction))
    )
    assert documents.contains("ax", is_whole=True)
    assert documents.contains("axy", is_whole=True)
    assert documents.contains("a")
    assert not documents.contains("a", is_whole=True)
    assert not documents.contains("x")  # not the beginning of a document
    assert not documents.contains("axyz")
    assert documents.contains("dx", is_whole=True) is (val_fraction == 0)  # held out


def test_a_stream_is_searched_everywhere():
    documents = TrainingDocuments(corpus_from_text("the cat sat on the mat\n" * 10))
    assert documents.contains("cat sat", is_whole=True)
    assert documents.contains("mat\nthe")
    assert not documents.contains("cat mat")
