"""The reference of the API is what the protos say, and says something of everything that they have."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from protos.reference import PAGE, PROTOS, read_protos, reference
from service.pb import translation_pb2 as pb

PROTO = """// What is shown.
syntax = "proto3";

package shown.v1;

// Serves.
//
// Errors:
//   NOT_FOUND   nothing < something
//               or worse
// That is all.
service Shop {
  // Buys, again and again.
  rpc Buy(stream Order) returns (Order);
}

// An order.
message Order {
  // How.
  oneof way {
    // By `<name>` | number, <b>.
    string name = 1;
  }
  // How many, if known.
  optional int32 amount = 4;
  // By word.
  map<string, Order> others = 2;
  // Inside.
  repeated Part parts = 3;
  // A part.
  message Part {
    // Its kind.
    Kind kind = 1;
  }
  // Kinds.
  enum Kind {
    // None.
    KIND_UNSPECIFIED = 0;
  }
}
"""


@pytest.fixture
def shown(tmp_path: Path) -> str:
    """The page of `PROTO`."""
    (tmp_path / "shown" / "v1").mkdir(parents=True)
    (tmp_path / "shown" / "v1" / "shop.proto").write_text(PROTO)
    return reference(read_protos(tmp_path))


def test_the_page_is_what_the_protos_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == reference(read_protos(PROTOS)), "run `make api-reference`"


def test_every_proto_file_is_in_the_page() -> None:
    files = [path.relative_to(PROTOS).as_posix() for path in PROTOS.rglob("*.proto")]
    page = PAGE.read_text(encoding="utf-8")
    assert pb.DESCRIPTOR.name.rpartition("/")[2] in {Path(name).name for name in files}
    assert all(f"## {name}\n" in page for name in files)


def test_nothing_in_the_page_is_without_a_word() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert "|  |" not in page
    assert not re.search(r"^### .*\n\n+(\||<a )", page, re.MULTILINE)


def test_every_link_has_its_place() -> None:
    page = PAGE.read_text(encoding="utf-8")
    links = set(re.findall(r"\]\(#([^)]+)\)", page))
    assert links
    assert links <= set(re.findall(r'<a id="([^"]+)"></a>', page))


def test_methods_say_what_is_streamed(shown: str) -> None:
    assert "| `Buy` | stream of [Order](#shown.v1.Order) | [Order](#shown.v1.Order) | Buys, again and again. |" in shown
    assert "- `shown/v1/shop.proto`: What is shown." in shown


@pytest.mark.parametrize(
    "row",
    [
        "| `name` | 1 | string | One of `way`. By `<name>` \\| number, &lt;b>. |",
        "| `amount` | 4 | optional int32 | How many, if known. |",
        "| `others` | 2 | map of string to [Order](#shown.v1.Order) | By word. |",
        "| `parts` | 3 | repeated [Order.Part](#shown.v1.Order.Part) | Inside. |",
        "| `kind` | 1 | [Order.Kind](#shown.v1.Order.Kind) | Its kind. |",
        "| `KIND_UNSPECIFIED` | 0 | None. |",
    ],
)
def test_a_field_has_its_number_its_type_and_its_comment(row: str, shown: str) -> None:
    assert row in shown.splitlines()


def test_what_is_set_in_stays_as_it_is_laid_out(shown: str) -> None:
    laid_out = "Errors:\n```\n  NOT_FOUND   nothing < something\n              or worse\n```\nThat is all."
    assert laid_out in shown


def test_what_does_not_compile_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.proto").write_text("message {")
    with pytest.raises(ValueError, match="protoc ended with 1"):
        read_protos(tmp_path)
    assert "bad.proto" in capfd.readouterr().err
