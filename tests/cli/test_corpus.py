"""``charloom corpus``: the list, and the errors of a download."""

from charloom.text import catalogue


def test_corpus_list(charloom, tmp_path):
    rows = charloom(["corpus", "list", "--folder", str(tmp_path), "--json"]).json["corpora"]
    assert {row["name"] for row in rows} == set(catalogue.KNOWN)
    assert all(row["path"] is None for row in rows)
    assert "charloom corpus get names" in charloom(["corpus", "list", "--folder", str(tmp_path)]).out


def test_corpus_get_reports_a_missing_network(charloom, tmp_path):
    url = "http://127.0.0.1:9/names.txt"
    done = charloom(["corpus", "get", "names", "--folder", str(tmp_path), "--url", url, "--json"])
    assert done.code == 1
    assert done.json["error"]["kind"] == "DownloadError"
    assert "no connection" in done.json["error"]["why"]


def test_corpus_get_suggests_the_nearest_name(charloom, tmp_path):
    done = charloom(["corpus", "get", "name", "--folder", str(tmp_path), "--json"])
    assert done.code == 1
    assert "names" in done.json["error"]["fix"]
