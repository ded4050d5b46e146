"""The software corpus is built from real .deb files, made here and served from a local mirror."""

import gzip
import hashlib
import io
import lzma
import tarfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import polib
import pytest

import export.corpora.software as software
from export.cli import main
from export.corpora.catalogues import pair_pages, read_catalogue
from export.corpora.cleaning import clean
from export.corpora.debian import INDEX
from export.corpora.software import choose_translations, divide, fetch_software
from export.errors import CorpusError
from export.training.data import read_lines

MO = "usr/share/locale/ko/LC_MESSAGES/editor.mo"
NUM_SENTENCES = 30


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


def catalogue(*messages):
    file = polib.POFile()
    file.metadata = {"Content-Type": "text/plain; charset=UTF-8"}
    for message in messages:
        file.append(polib.POEntry(**message))
    return file.to_binary()


def page(*elements):
    return f'<html><head><meta charset="UTF-8"></head><body>{"".join(elements)}</body></html>'.encode()


def tar(files):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:xz") as archive:
        for path, content in files.items():
            member = tarfile.TarInfo(f"./{path}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def ar(members):
    """A Unix archive, with the padding to even lengths that the format asks for."""
    content = b"!<arch>\n"
    for name, data in members.items():
        content += (
            f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n".encode() + data + b"\n" * (len(data) % 2)
        )
    return content


def deb(files):
    return ar({"debian-binary": b"2.0\n", "control.tar.xz": tar({"control": b"odd"}), "data.tar.xz": tar(files)})


class Mirror:
    def __init__(self, folder):
        self.folder = folder
        self.entries = {}
        self.url = ""

    def add(self, name, content, *, promised=None):
        path = self.folder / "pool" / f"{name}.deb"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        digest = hashlib.sha256(promised or content).hexdigest()
        self.entries[name] = f"Package: {name}\nVersion: 1\nFilename: pool/{name}.deb\nSHA256: {digest}\n"
        (self.folder / INDEX).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / INDEX).write_bytes(lzma.compress("\n".join(self.entries.values()).encode()))


MESSAGES = [
    {"msgid": "_File", "msgstr": "파일(_F)"},
    {"msgid": "Copyright", "msgstr": "Copyright"},
    *(
        {"msgid": f"Number {i} opens the next file", "msgstr": f"{i}번은 다음 파일을 엽니다"}
        for i in range(NUM_SENTENCES)
    ),
]
PAGES = {
    "en-US": page('<p id="par_1">Click <b>Save</b> now.</p><p id="par_2">Only English.</p><p>No id</p>'),
    "ko": page('<p id="par_3">다른 문단.</p><p id="par_1">지금 <b>저장</b>을 누르십시오.</p>'),
}


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """A mirror with one program and a help page, and a corpus that asks for no more."""
    monkeypatch.setattr(software, "CATALOGUES", ["editor"])
    monkeypatch.setattr(software, "HELP", ("help-en", "help-ko"))
    monkeypatch.setattr(software, "NUM_HELD_OUT", 10)
    folder = tmp_path / "mirror"
    folder.mkdir()
    mirror = Mirror(folder)
    mirror.add("editor", deb({MO: catalogue(*MESSAGES), "usr/share/locale/de/LC_MESSAGES/editor.mo": b"damaged"}))
    for language, name in (("en-US", "help-en"), ("ko", "help-ko")):
        mirror.add(name, deb({f"usr/share/libreoffice/help/{language}/text/shared/save.html": PAGES[language]}))
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        mirror.url = f"http://127.0.0.1:{server.server_port}"
        yield mirror
        server.shutdown()
        thread.join()


def lines(corpus, split):
    return list(zip(read_lines(corpus, split, "en"), read_lines(corpus, split, "ko"), strict=True))


def test_catalogues_and_help_become_three_disjoint_splits(mirror, tmp_path):
    corpus = tmp_path / "corpus"
    assert len(fetch_software(corpus, mirror.url)) == 6
    splits = {split: lines(corpus, split) for split in ("train", "val", "test")}
    assert {split: len(pairs) for split, pairs in splits.items()} == {
        "train": NUM_SENTENCES - 18,
        "val": 10,
        "test": 10,
    }
    everything = [pair for pairs in splits.values() for pair in pairs]
    assert len(set(everything)) == NUM_SENTENCES + 2
    assert ("Number 7 opens the next file", "7번은 다음 파일을 엽니다") in everything
    assert {("File", "파일"), ("Click Save now.", "지금 저장을 누르십시오.")} < set(splits["train"])


def test_the_same_packages_give_the_same_bytes_and_nothing_is_built_twice(mirror, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    for corpus in (first, second):
        fetch_software(corpus, mirror.url)
    contents = [{path.name: path.read_bytes() for path in corpus.iterdir()} for corpus in (first, second)]
    assert contents[0] == contents[1]
    assert all(content[4:8] == bytes(4) for content in contents[0].values())
    assert fetch_software(first, "http://127.0.0.1:1") == []
    (first / "val.ko.gz").unlink()
    assert len(fetch_software(first, mirror.url)) == 6
    assert gzip.decompress((first / "val.ko.gz").read_bytes()) == gzip.decompress(contents[0]["val.ko.gz"])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda m: m.add("editor", b"other", promised=b"this"), "pool/editor.deb is not the file that the index names"),
        (lambda m: m.add("editor", b"<html>"), "editor.deb is no Debian package: no ar archive"),
        (lambda m: m.add("editor", deb({MO: catalogue()})[:-90]), "editor.deb is no Debian package: cut short"),
        (lambda m: m.add("editor", ar({"data.tar.xz": tar({MO: b""})[:90]})), "editor.deb is no Debian package: "),
        (lambda m: m.add("editor", ar({"debian-binary": b"2.0\n"})), "no Debian package: no data.tar.xz in it"),
        (
            lambda m: m.add("editor", deb({"usr/share/locale/de/LC_MESSAGES/e.mo": b""})),
            "editor holds no Korean catalogue",
        ),
        (lambda m: m.add("editor", deb({MO: b"no catalogue"})), f"editor: ./{MO} is no gettext catalogue"),
        (lambda m: m.add("editor", deb({MO: catalogue(*MESSAGES[:20])})), "18 sentences for validation and test"),
        (lambda m: m.add("help-ko", deb({"usr/share/doc/readme": b""})), "help-en and help-ko have no page in common"),
        (lambda m: (m.folder / INDEX).write_bytes(b"damaged"), "Packages.xz is no index of packages"),
        (lambda m: (m.folder / INDEX).write_bytes(lzma.compress(b"")), "does not name editor, help-en, help-ko"),
        (lambda m: (m.folder / "pool/editor.deb").unlink(), "pool/editor.deb cannot be fetched: File not found"),
    ],
)
def test_damage_is_one_clear_line_and_leaves_nothing(damage, message, mirror, tmp_path, capsys):
    damage(mirror)
    corpus = tmp_path / "corpus"
    assert main(["fetch-corpus", "software-en-ko", "--output", str(corpus), "--base-url", mirror.url]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("stepstream-export fetch-corpus: ")
    assert message in error
    assert not corpus.exists()


def test_a_plural_counts_twice_and_paragraphs_are_split_where_both_sides_agree():
    content = catalogue(
        {"msgctxt": "menu", "msgid": "Open", "msgstr": "열기"},
        {"msgid": "one file", "msgid_plural": "%d files", "msgstr_plural": {0: "파일 %d개"}},
        {"msgid": "First.\n\nSecond.", "msgstr": "첫째.\n\n둘째."},
        {"msgid": "Third.\n\nFourth.", "msgstr": "셋째와 넷째."},
    )
    assert sorted(read_catalogue(content, "editor")) == [
        ("%d files", "파일 %d개"),
        ("First.", "첫째."),
        ("Open", "열기"),
        ("Second.", "둘째."),
        ("Third.\n\nFourth.", "셋째와 넷째."),
        ("one file", "파일 %d개"),
    ]


def test_help_shows_the_default_of_its_variants_and_leaves_out_what_has_none():
    variants = (
        '<span class="switchinline"><span hidden id="MAC1">Command</span><span hidden id="{}1">Ctrl</span></span>'
    )
    source = page(
        f'<p id="a">Press {variants.format("default")}+C.</p>', f'<p id="b">In {variants.format("WRITER")}.</p>'
    )
    target = page('<p id="b">에서.</p>', '<p id="a">Ctrl+C를 누르십시오.</p>')
    assert list(pair_pages(source, target, "page")) == [("Press Ctrl+C.", "Ctrl+C를 누르십시오.")]
    with pytest.raises(CorpusError, match="page is no page of help"):
        list(pair_pages(source, b"", "page"))


@pytest.mark.parametrize(
    ("source", "target", "pair"),
    [
        ("_Save As…", "다른 이름으로 저장(_A)…", ("Save As…", "다른 이름으로 저장…")),
        ("E_xit", "끝내기(_X)", ("Exit", "끝내기")),
        ("Save &As", "다른 이름으로 저장 (&A)", ("Save As", "다른 이름으로 저장")),
        ("~Table", "~표", ("Table", "~표")),
        ("&Find", "찾기", ("Find", "찾기")),
        ("AT&T &amp; others", "AT&T 및 기타", ("AT&T &amp; others", "AT&T 및 기타")),
        (
            "value of LC_ALL and __init__",
            "LC_ALL 및 __init__ 값",
            ("value of LC_ALL and __init__", "LC_ALL 및 __init__ 값"),
        ),
        ("from ~a to ~d", "~a에서 ~d까지", ("from ~a to ~d", "~a에서 ~d까지")),
        ("Layer|Opacity", "불투명도", ("Opacity", "불투명도")),
        ("_: a verb\nOpen", "열기", ("Open", "열기")),
        ("a|b", "가|나", ("a|b", "가|나")),
        ("Two\n lines ", " 두\n줄", ("Two lines", "두 줄")),
        ("Tags %1", "태그 %1이(가)|/|태그 $[이가 %1]", ("Tags %1", "태그 %1이(가)")),
        ("Files", "\u1111\u1161일", ("Files", "파일")),
    ],
)
def test_context_and_accelerator_marks_are_taken_out(source, target, pair):
    assert clean(source, target) == pair


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("Untranslated", "Untranslated"),
        ("Half of this remains", "Half of this remains 은"),
        ("한국어", "한국어"),
        ("123", "백이십삼"),
        ("", "머리말"),
        ("x" * 401, "가" * 300),
        ("Yes", "이 번역은 원문보다 너무 길어서 짝이 맞지 않습니다"),
        ("This source is much too long to be the source of that", "예"),
        ("Opening %s", "여는 중"),
        ("E&xit", "끝내기"),
        ("Pre_view", "미리 보기"),
        ("translator-credits", "홍길동"),
        ("image;picture;", "그림;사진;"),
    ],
)
def test_what_teaches_nothing_is_left_out(source, target):
    assert clean(source, target) is None


def test_a_source_has_its_most_frequent_translation_wherever_it_comes_first():
    texts = [("Open", "엶"), ("_Open", "열기(_O)"), ("Open", "열기"), ("Close", "닫기"), ("Close", "닫음")]
    assert set(choose_translations(texts)) == {("Open", "열기"), ("Close", "닫기")}
    assert choose_translations(texts) == choose_translations(texts[3:] + texts[:3])


def test_validation_and_test_hold_sentences_of_their_own_alone():
    alone = [f"Sentence number {i} is alone" for i in range(4)]
    twins = ["The same beginning as this", "The same beginning as that"]
    sources = ["Too short", *twins, *alone, " ".join(["long"] * 41)]
    validation, test, train = divide([(source, "번역") for source in sources], 2)
    assert [source for source, _ in validation + test] == alone
    assert [source for source, _ in train] == [source for source in sources if source not in alone]
    with pytest.raises(CorpusError, match="4 sentences for validation and test, 6 are needed"):
        divide([(source, "번역") for source in sources], 3)
