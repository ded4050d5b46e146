"""The picture of the attention: its words, its glyphs, its file."""

import re
import subprocess
import sys

import grpc
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager, rcParams

from service.client.errors import MissingFontError
from service.client.fonts import BASE_FAMILY, families_for
from service.client.plot import attention_figure, save_attention_plot, wrap
from service.client.words import WordAttention

ENGLISH_GERMAN = WordAttention(("Two", "“dogs”", "</s>"), ("Zwei", "</s>"), ((0.75, 0.25, 0.0), (0.0, 0.0, 1.0)))
KOREAN = WordAttention(("Save", "</s>"), ("저장하지", "</s>"), ((0.75, 0.25), (0.0, 1.0)))
MAGIC = {"png": b"\x89PNG\r\n\x1a\n", "svg": b"<?xml", "pdf": b"%PDF-"}


@pytest.fixture(autouse=True)
def known_fonts(monkeypatch):
    """Fonts that a test adds are forgotten after it."""
    monkeypatch.setattr(font_manager.fontManager, "ttflist", list(font_manager.fontManager.ttflist))


@pytest.fixture
def make_font(tmp_path):
    """Writes a font with a square for each character: make_font(family, characters, style=...) -> its path."""

    def make(family, characters, style="Regular"):
        pen = TTGlyphPen(None)
        pen.moveTo((0, 0))
        for point in ((0, 700), (700, 700), (700, 0)):
            pen.lineTo(point)
        pen.closePath()
        square = pen.glyph()
        names = [".notdef", *(f"u{ord(character):X}" for character in characters)]
        builder = FontBuilder(1000, isTTF=True)
        builder.setupGlyphOrder(names)
        builder.setupCharacterMap({ord(character): f"u{ord(character):X}" for character in characters})
        builder.setupGlyf(dict.fromkeys(names, square))
        builder.setupHorizontalMetrics(dict.fromkeys(names, (800, 50)))
        builder.setupHorizontalHeader(ascent=800, descent=-200)
        builder.setupNameTable({"familyName": family, "styleName": style, "psName": f"{family}-{style}"})
        builder.setupOS2(sTypoAscender=800, usWinAscent=800, usWinDescent=200, fsSelection=0x20 * (style == "Bold"))
        builder.setupPost()
        path = tmp_path / f"{family}-{style}.ttf"
        builder.save(path)
        return str(path)

    return make


def test_latin_needs_no_font_but_the_one_of_matplotlib():
    assert families_for("Zwei Hunde “%s” — </s> ▁ \ufffd", paths=[]) == [BASE_FAMILY]


def test_the_font_that_shows_all_characters_is_chosen_by_what_it_holds(make_font):
    paths = [make_font("Nanum Gothic", "저"), make_font("Whatever", "저장하지"), make_font("Other", "저장하지못")]
    assert families_for("저장하지 a", paths=paths) == [BASE_FAMILY, "Whatever"]


def test_several_fonts_show_together_what_none_shows_alone(make_font):
    paths = [make_font("One", "저"), make_font("Two", "장하"), make_font("Three", "저장")]
    assert families_for("저장하", paths=paths) == [BASE_FAMILY, "Two", "One"]


def test_bold_fonts_and_files_that_are_no_fonts_are_left_out(make_font, tmp_path):
    (tmp_path / "broken.ttf").write_bytes(b"no font")
    paths = [str(tmp_path / "broken.ttf"), str(tmp_path / "missing.ttf"), make_font("Heavy", "저", style="Bold")]
    with pytest.raises(MissingFontError, match="저"):
        families_for("저", paths=paths)


def test_where_no_font_has_the_glyphs_one_line_says_what_to_install(make_font):
    with pytest.raises(MissingFontError) as caught:
        families_for("파일을 저장하지 못했습니다", paths=[make_font("Half", "파일을")])
    message = str(caught.value)
    assert "\n" not in message
    assert "no font shows 니 다 못 습 장 and 4 more:" in message
    for part in ("stepstream[plot]", "fonts-nanum", "fonts-noto-cjk"):
        assert part in message


def test_the_font_of_the_plot_extra_shows_korean():
    pytest.importorskip("pylopdf_fonts_ko", reason="comes with the extra `plot`")
    assert families_for("“%s” 파일을 저장하지 못했습니다.") == [BASE_FAMILY, "Noto Sans KR"]


def test_the_figure_has_both_sides_words_and_each_weight_in_its_cell():
    (axes,) = attention_figure(ENGLISH_GERMAN, title="en-de version 3", translation="Zwei Hunde").axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["Two", "“dogs”", "</s>"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["Zwei", "</s>"]
    assert axes.get_title(loc="left") == "en-de version 3\nZwei Hunde"
    (image,) = axes.images
    assert image.get_array().tolist() == [list(row) for row in ENGLISH_GERMAN.weights]
    assert image.get_clim() == (0.0, 1.0)
    written = {text.get_position(): text.get_text() for text in axes.texts}
    assert written == {(0, 0): "0.75", (1, 0): "0.25", (2, 1): "1.00"}
    assert [scale.get_ylabel() for scale in axes.child_axes] == ["attention"]


@pytest.mark.parametrize("file_format", ["png", "svg", "pdf"])
def test_the_file_is_of_the_format_its_suffix_names_and_always_the_same(tmp_path, file_format, monkeypatch):
    first, second = tmp_path / f"first.{file_format}", tmp_path / f"second.{file_format.upper()}"
    save_attention_plot(first, ENGLISH_GERMAN, title="m version 1", translation="Zwei")
    monkeypatch.setitem(rcParams, "axes.grid", True)
    monkeypatch.setitem(rcParams, "font.size", 20.0)
    save_attention_plot(second, ENGLISH_GERMAN, title="m version 1", translation="Zwei")
    assert first.read_bytes().startswith(MAGIC[file_format])
    assert first.read_bytes() == second.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == [first.name, second.name]


def test_the_picture_of_korean_words_has_a_glyph_for_each(tmp_path, make_font, monkeypatch):
    font = make_font("SomeKorean", "저장하지")
    monkeypatch.setattr("service.client.fonts._font_paths", lambda: iter([font]))
    save_attention_plot(tmp_path / "a.svg", KOREAN, title="en-ko version 1", translation="저장하지")
    picture = (tmp_path / "a.svg").read_text()
    assert "<!-- 저장하지 -->" in picture
    assert len(set(re.findall(r'id="(SomeKorean[^"]*)"', picture))) == 4


def test_dollars_and_backslashes_are_shown_as_they_are(tmp_path):
    attention = WordAttention(("$HOME$", "\\n"), ("$x^2$",), ((0.5, 0.5),))
    save_attention_plot(tmp_path / "a.svg", attention, title="m version 1", translation="$x^2$ and y")
    picture = (tmp_path / "a.svg").read_text()
    for text in ("<!-- $HOME$ -->", "<!-- \\n -->", "<!-- $x^2$ -->", "$x^2$ and y"):
        assert text in picture
    assert "Oblique" not in picture, "mathematics is set in italics"


def test_characters_without_a_shape_need_no_font(tmp_path):
    attention = WordAttention(("a\u2060b", "</s>"), ("c\ufe0f",), ((0.5, 0.5),))
    save_attention_plot(tmp_path / "a.svg", attention, title="m version 1", translation="c\u2067d")
    assert "<!-- ab -->" in (tmp_path / "a.svg").read_text()


def test_a_picture_that_fails_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(b"old")
    monkeypatch.setattr("service.client.fonts._font_paths", lambda: iter([]))
    with pytest.raises(MissingFontError):
        save_attention_plot(path, KOREAN, title="m version 1", translation="저장하지")
    assert [entry.read_bytes() for entry in tmp_path.iterdir()] == [b"old"]


def test_a_file_that_cannot_be_replaced_leaves_nothing_behind(tmp_path):
    (tmp_path / "a.png").mkdir()
    with pytest.raises(IsADirectoryError):
        save_attention_plot(tmp_path / "a.png", ENGLISH_GERMAN, title="m version 1", translation="Zwei")
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.png"]


def test_long_translations_are_wrapped_by_the_width_of_their_characters():
    assert wrap("aa bb cc", 5) == ["aa bb", "cc"]
    assert wrap("파일 저장 a", 9) == ["파일 저장", "a"]
    assert wrap("파일 저장 a", 8) == ["파일", "저장 a"]
    assert wrap("muchtoolong a", 4) == ["muchtoolong", "a"]


def test_translate_saves_the_picture_and_shows_what_it_always_shows(run, fake_service, tmp_path):
    options = ["--address", fake_service.address, "--attention-plot", tmp_path / "a.svg"]
    assert run("translate", "two words", *options) == (0, "TWO WORDS\n", "")
    picture = (tmp_path / "a.svg").read_text()
    for text in ("two", "words", "&lt;/s&gt;", "TWO", "WORDS"):
        assert f"<!-- {text} -->" in picture
    assert "shout version 7" in picture
    _, output, _ = run("translate", "two words", *options, "--attention")
    assert "▁TWO          ███" in output


def test_a_translation_that_fails_leaves_no_picture(run, fake_service, tmp_path):
    fake_service.failures["a"] = [(grpc.StatusCode.INVALID_ARGUMENT, "model 'shout' has no attention")]
    options = ["--address", fake_service.address, "--attention-plot", tmp_path / "a.png"]
    assert run("translate", "a", *options) == (1, "", "stepstream: model 'shout' has no attention\n")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_does_not_exist_fails_before_the_translation(run, fake_service, tmp_path):
    folder = tmp_path / "missing"
    options = ["--address", fake_service.address, "--attention-plot", folder / "a.png"]
    assert run("translate", "a", *options) == (1, "", f"stepstream: {folder}: No such file or directory\n")
    assert fake_service.requests == []


def test_a_picture_that_is_a_folder_fails_before_the_translation(run, fake_service, tmp_path):
    picture = tmp_path / "a.png"
    picture.mkdir()
    options = ["--address", fake_service.address, "--attention-plot", picture]
    assert run("translate", "a", *options) == (1, "", f"stepstream: {picture}: Is a directory\n")
    assert fake_service.requests == []


def test_an_empty_text_has_no_attention_to_draw(run, fake_service, tmp_path):
    for text in ("", " \t"):
        options = ["--address", fake_service.address, "--attention-plot", tmp_path / "a.png"]
        assert run("translate", text, *options) == (1, "", "stepstream: an empty text has no attention to draw\n")
    assert fake_service.requests == []
    assert list(tmp_path.iterdir()) == []


def test_without_matplotlib_one_line_says_what_to_install_before_the_translation(fake_service, tmp_path):
    script = "import sys; sys.modules['matplotlib'] = None; from service.cli import main; sys.exit(main(sys.argv[1:]))"
    arguments = ["translate", "a", "--address", fake_service.address, "--attention-plot", str(tmp_path / "a.png")]
    finished = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True)
    assert (finished.returncode, finished.stdout) == (1, "")
    assert finished.stderr.count("\n") == 1
    assert "pip install 'stepstream[plot]'" in finished.stderr
    assert fake_service.requests == []
