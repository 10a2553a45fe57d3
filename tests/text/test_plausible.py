import pytest

from charloom.text.plausible import mojibake_note

ARABIC = "كان الفيل يمشي في الغابة، ثم عاد إلى بيته."
FRENCH = "Où est passé l'été ? À la plage, près de la forêt."
GERMAN = "Über allen Gipfeln ist Ruh, in allen Wipfeln spürest du kaum einen Hauch; die Vögelein schweigen"


@pytest.mark.parametrize(
    "text", [ARABIC, FRENCH, GERMAN, "plain", "", "“quotes” — and ‘dashes’…", "日本語のテキスト", "Ã© Ã© é "]
)
def test_text_that_is_well_is_left_alone(text):
    assert mojibake_note(text * 5) is None


@pytest.mark.parametrize("codec", ["latin-1", "cp1256"])
@pytest.mark.parametrize("text", [ARABIC, FRENCH, GERMAN])
def test_utf_8_read_as_something_else_is_noticed(text, codec):
    misread = (text * 5).encode("utf-8").decode(codec)
    assert "looks like UTF-8 that was once read as" in (mojibake_note(misread) or "")
