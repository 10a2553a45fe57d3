import hashlib
import http.server
import io
import socket
import threading
import zipfile
from pathlib import Path

import pytest

from charloom.config import TextConfig
from charloom.errors import DataError, DownloadError, RunError
from charloom.text import catalogue, open_prepared, prepare, read_corpus, read_text
from charloom.text.catalogue import KNOWN, KnownCorpus, default_folder, get_corpus, list_corpora

TEXT = b"Once upon a time.\n" * 1000


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests.append(self.path)
        if self.path == "/missing":
            self.send_error(404)
            return
        self.send_response(200)
        if self.path == "/archive":
            self.send_header("Content-Length", str(len(self.server.content)))
            self.end_headers()
            self.wfile.write(self.server.content)
            return
        if self.path != "/unsized":
            self.send_header("Content-Length", str(len(TEXT)))
        self.end_headers()
        self.wfile.write({"/cut": TEXT[:5000], "/other": TEXT[:-1] + b"x"}.get(self.path, TEXT))

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.requests = []
        server.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def tale(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    known = KnownCorpus(
        "http://127.0.0.1:9/none", hashlib.sha256(TEXT).hexdigest(), 18_000, "public domain", "a tale"
    )
    monkeypatch.setattr(catalogue, "KNOWN", {**KNOWN, "tale": known})


@pytest.mark.parametrize("place", ["/right", "/unsized"])
def test_the_right_file_is_kept(server, tmp_path, place):
    path = get_corpus("tale", folder=tmp_path / "deep" / "er", url=server.url + place)
    assert path == tmp_path / "deep" / "er" / "tale.txt"
    assert path.read_bytes() == TEXT
    assert [entry.name for entry in path.parent.iterdir()] == ["tale.txt"]


def test_an_existing_file_is_not_downloaded_again(server, tmp_path):
    for _ in range(2):
        get_corpus("tale", folder=tmp_path, url=server.url + "/right")
    assert server.requests == ["/right"]
    (tmp_path / "tale.txt").write_bytes(b"spoilt")
    get_corpus("tale", folder=tmp_path, url=server.url + "/right")
    assert (tmp_path / "tale.txt").read_bytes() == TEXT


@pytest.mark.parametrize(
    ("place", "what", "why"),
    [
        ("/other", "is not the expected corpus", "its SHA-256 is "),
        ("/cut", "cannot fetch", "the connection was cut after 5,000 of 18,000 bytes"),
        ("/missing", "cannot fetch", "the server answered 404 Not Found"),
    ],
)
def test_a_wrong_download_is_not_kept(server, tmp_path, place, what, why):
    with pytest.raises(DownloadError) as caught:
        get_corpus("tale", folder=tmp_path, url=server.url + place)
    assert what in caught.value.what
    assert why in caught.value.why
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def archived(tmp_path, monkeypatch):
    """A corpus in an archive, with three parts."""
    known = catalogue.KNOWN["tale"]._replace(
        member="tale", parts=(("train", 10_000), ("valid", 3_000), ("test", 5_000))
    )
    monkeypatch.setattr(catalogue, "KNOWN", {"tale": known})

    def archive(name, content=TEXT):
        data = io.BytesIO()
        with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as writer:
            writer.writestr(name, content)
        return data.getvalue()

    return archive


def test_a_text_is_taken_out_of_its_archive_and_divided(server, archived, tmp_path):
    server.content = archived("tale")
    path = get_corpus("tale", folder=tmp_path, url=server.url + "/archive")
    assert path.read_bytes() == TEXT
    parts = catalogue.corpus_parts(path, "tale")
    assert [part.name for part in parts.values()] == ["tale-train.txt", "tale-valid.txt", "tale-test.txt"]
    assert b"".join(part.read_bytes() for part in parts.values()) == TEXT
    assert [part.stat().st_size for part in parts.values()] == [10_000, 3_000, 5_000]
    parts["valid"].write_bytes(b"cut")
    get_corpus("tale", folder=tmp_path, url=server.url + "/archive")
    assert parts["valid"].read_bytes() == TEXT[10_000:13_000]
    assert server.requests == ["/archive"]


def test_a_mirror_may_have_the_text_without_its_archive(server, archived, tmp_path):
    assert get_corpus("tale", folder=tmp_path, url=server.url + "/right").read_bytes() == TEXT


def test_a_wrong_archive_is_explained(server, archived, tmp_path, monkeypatch):
    wrong = {
        "another member": (archived("other"), "not an archive with tale"),
        "another text": (archived("tale", TEXT[1:]), "its SHA-256 is"),
        "damaged": (archived("tale")[:60] + b"\0" * 20 + archived("tale")[80:], "archive with tale|SHA-256"),
    }
    for content, why in wrong.values():
        server.content = content
        with pytest.raises(DownloadError, match=why):
            get_corpus("tale", folder=tmp_path, url=server.url + "/archive")
        assert list(tmp_path.iterdir()) == []
    server.content = archived("tale", bytes(200_000))
    monkeypatch.setattr(catalogue, "MAX_BYTES", 100_000)
    with pytest.raises(DownloadError, match="more than 100,000 bytes"):
        get_corpus("tale", folder=tmp_path, url=server.url + "/archive")


def test_an_oversized_download_is_stopped(server, tmp_path, monkeypatch):
    monkeypatch.setattr(catalogue, "MAX_BYTES", 1000)
    with pytest.raises(DownloadError, match="the server sent more than 1,000 bytes"):
        get_corpus("tale", folder=tmp_path, url=server.url + "/right")


def test_a_refused_connection_is_explained(tmp_path):
    with socket.socket() as closed:  # bound but never listening, so nothing else can take the port
        closed.bind(("127.0.0.1", 0))
        with pytest.raises(DownloadError) as caught:
            get_corpus("tale", folder=tmp_path, url=f"http://127.0.0.1:{closed.getsockname()[1]}/right")
    assert caught.value.why.startswith("no connection (")
    assert "download the file another way" in caught.value.fix
    assert list(tmp_path.iterdir()) == []


def test_a_silent_server_times_out(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(DownloadError, match="timed out"):
        get_corpus(
            "tale", folder=tmp_path, url=f"http://127.0.0.1:{silent.getsockname()[1]}/", timeout_s=0.05
        )


def test_an_unknown_name_suggests_the_nearest(tmp_path):
    with pytest.raises(DownloadError) as caught:
        get_corpus("tinyshakspeare", folder=tmp_path)
    assert caught.value.what == "unknown corpus 'tinyshakspeare'"
    assert caught.value.fix == "did you mean tinyshakespeare?"


def test_a_folder_that_cannot_be_created(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="cannot write"):
        get_corpus("tale", folder=tmp_path / "file")


@pytest.fixture
def cached(monkeypatch, tmp_path):
    """An empty folder of downloads, and another one to work in."""
    monkeypatch.setenv("CHARLOOM_DATA", str(tmp_path / "cache"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "cache"


def serve_as(monkeypatch, server, name):
    known = catalogue.KNOWN["tale"]._replace(url=server.url + "/right")
    monkeypatch.setattr(catalogue, "KNOWN", {**KNOWN, name: known})


def test_a_known_corpus_is_read_by_its_name(server, cached, monkeypatch):
    serve_as(monkeypatch, server, "tinyshakespeare")
    path = cached / "tinyshakespeare.txt"
    corpus = read_corpus(["shakespeare"], TextConfig())
    assert (corpus.name, corpus.sources) == ("tinyshakespeare", (str(path),))
    assert corpus.notes == (f"shakespeare: a tale (downloaded to {path})",)
    again = read_corpus(["shakespeare"], TextConfig())
    assert again.notes == (f"shakespeare: a tale ({path})",)
    assert server.requests == ["/right"]
    prepare(["tinyshakespeare"], "out.ids")
    assert open_prepared("out.ids").sha256 == corpus.sha256
    assert read_text(["shakespeare"], TextConfig())[0] == TEXT.decode()


def test_an_existing_file_wins_over_a_known_corpus(server, cached, monkeypatch):
    serve_as(monkeypatch, server, "names")
    Path("names").write_text("my own names", encoding="utf-8")
    corpus = read_corpus(["names"], TextConfig())
    assert (corpus.num_chars, corpus.sources) == (12, (str(Path("names").absolute()),))
    assert server.requests == []


def test_without_network_the_error_says_where_to_put_the_file(cached, monkeypatch):
    monkeypatch.setattr(catalogue, "KNOWN", {**KNOWN, "tinyshakespeare": catalogue.KNOWN["tale"]})
    with pytest.raises(DownloadError) as caught:
        read_corpus(["shakespeare"], TextConfig())
    assert "'shakespeare' is not a file here" in caught.value.what
    assert "no connection" in caught.value.why
    assert f"save http://127.0.0.1:9/none as {cached / 'tinyshakespeare.txt'}" in caught.value.fix
    cached.mkdir(exist_ok=True)
    (cached / "tinyshakespeare.txt").write_bytes(TEXT)
    assert read_corpus(["shakespeare"], TextConfig()).num_chars == len(TEXT)


def test_a_misspelt_corpus_is_suggested(cached):
    with pytest.raises(DataError) as caught:
        read_corpus(["shakespear"], TextConfig())
    assert caught.value.fix == "did you mean shakespeare?"


def test_the_catalogue_matches_the_corpora(data):
    assert sum(size for _, size in KNOWN["enwik8"].parts) == 100_000_000
    for name, known in KNOWN.items():
        if name == "enwik8":  # 100 MB: only few machines have it
            continue
        content = (data / f"{name}.txt").read_bytes()
        assert hashlib.sha256(content).hexdigest() == known.sha256
        assert len(content.decode().replace("\r\n", "\n")) == known.chars
        assert known.url.startswith("https://raw.githubusercontent.com/")


def test_the_list_shows_what_was_downloaded(tmp_path):
    (tmp_path / "names.txt").touch()
    paths = {row["name"]: row["path"] for row in list_corpora(folder=tmp_path)}
    assert paths["names"] == str(tmp_path / "names.txt")
    assert paths["anna"] is None


def test_the_default_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("CHARLOOM_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "charloom" / "corpora"
    monkeypatch.setenv("CHARLOOM_DATA", "/texts")
    assert str(default_folder()) == "/texts"
