import pytest

from charloom.text.mojibake import mojibake_note

ARABIC = "كان الفيل يمشي في الغابة، ثم عاد إلى بيته."
FRENCH = "Où est passé l'été ? À la plage, près de la forêt."
GERMAN = "Über allen Gipfeln ist Ruh, in allen Wipfeln spürest du kaum einen Hauch; die Vögelein schweigen"


@pytest.mark.parametrize(
    "text", [ARABIC, FRENCH, GERMAN, "plain", "", "“quotes” — and ‘dashes’…", "日本語のテキスト", "Ã© Ã© é "]
)
def test_correct_text_gives_no_note(text):
    assert mojibake_note(text * 5) is None


@pytest.mark.parametrize("codec", ["latin-1", "cp1256"])
@pytest.mark.parametrize("text", [ARABIC, FRENCH, GERMAN])
def test_utf_8_read_with_another_encoding_is_noticed(text, codec):
    misread = (text * 5).encode("utf-8").decode(codec)
    assert "looks like UTF-8 that was once read as" in (mojibake_note(misread) or "")
