"""What a section of the report gets and gives: the models to measure, and tables to print."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table as RichTable

from benchmarks.bundles import BASE_NAME, make_random_base, random_base
from benchmarks.to_ctranslate2 import convert
from export.checkpoint import load_checkpoint
from export.publish import publish
from service.model.store import list_versions

ROOT = Path(__file__).parents[1]
SHIPPED = "en-de-transformer"
RECURRENT = "en-de-general"
BASE = f"{BASE_NAME} int8"


class LeftOutError(Exception):
    """A section, or one part of it, cannot be measured on this machine; the message says why in a few words."""


@dataclass(frozen=True)
class Bench:
    """The models, made when a section first asks for one, in a scratch folder; rounds of which medians are taken."""

    rounds: int
    scratch: Path

    @cached_property
    def base(self) -> Path:
        """A Transformer base with random weights in exact 8-bit form, as a version."""
        return make_random_base(self.scratch / BASE_NAME)

    @cached_property
    def in_fp32(self) -> dict[str, Path]:
        """As `folders`, exported in fp32: what an execution provider without 8-bit products is given."""
        store = self.scratch / "fp32"
        shipped = {
            name: publish(ROOT / "export" / "checkpoints" / name, model_store=store, precision="fp32")
            for name in (SHIPPED, RECURRENT)
        }
        return {**shipped, BASE_NAME: make_random_base(store / BASE_NAME, precision="fp32")}

    @cached_property
    def base_in_ctranslate2(self) -> Path:
        """The same weights for CTranslate2, in 8 bits."""
        folder = self.scratch / "ctranslate2" / BASE_NAME
        convert(random_base(), folder, "int8")
        return folder

    @cached_property
    def shipped_in_ctranslate2(self) -> Path:
        """The weights of `SHIPPED` for CTranslate2, in 8 bits."""
        folder = self.scratch / "ctranslate2" / SHIPPED
        convert(load_checkpoint(ROOT / "export" / "checkpoints" / SHIPPED)[1], folder, "int8")
        return folder

    @cached_property
    def captions(self) -> list[str]:
        """Real sentences: the test split of 2016 in English."""
        path = ROOT / "tests" / "data" / "multi30k" / "test_2016_flickr.en.gz"
        return gzip.decompress(path.read_bytes()).decode().splitlines()

    def shipped(self, name: str) -> Path:
        """The newest version of a shipped model; raises LeftOutError where the store has none."""
        store = ROOT / "model_store"
        newest = {stored.name: stored.folder for stored in list_versions(store)}
        if name not in newest:
            raise LeftOutError(f"{store.name} has no {name}")
        return newest[name]

    @property
    def folders(self) -> dict[str, Path]:
        """The models that a row is printed for: two shipped ones and the base."""
        return {SHIPPED: self.shipped(SHIPPED), RECURRENT: self.shipped(RECURRENT), BASE: self.base}


@dataclass(frozen=True)
class Table:
    """One table of the report: a line above it, columns, rows of the same length. The first column and those in
    `texts` hold words, the others numbers."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    texts: Sequence[str] = field(default=("to reach",))

    def print_on(self, console: Console) -> None:
        """As Markdown."""
        console.print(f"\n{self.title}:\n", highlight=False, soft_wrap=True)
        table = RichTable(box=box.MARKDOWN)
        for number, column in enumerate(self.columns):
            table.add_column(column, justify="left" if number == 0 or column in self.texts else "right")
        for row in self.rows:
            table.add_row(*row)
        console.print(table)


Section = Callable[[Bench], Iterator[Table]]
"""Measures, and gives each table as soon as it is known."""
