"""English-Korean texts of programs, user interface and help, built from what Debian 12 packages ship.

It knows the packages and how their texts become a corpus; the texts stay under the packages' own licences.
"""

from __future__ import annotations

import gzip
import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from tqdm import tqdm

from export.corpora.catalogues import Pair, pair_pages, read_catalogue
from export.corpora.cleaning import clean
from export.corpora.debian import Package, find_packages, read_package
from export.corpora.download import write
from export.errors import CorpusError

BASE_URL = "https://deb.debian.org/debian"
CATALOGUES = """
    asunder awffull blueman digikam-data evolution-common evolution-data-server-common fcitx-module-cloudpinyin
    fcitx-sayura fcitx5-kkc fcitx5-sayura gimp-data gnome-2048 gnome-boxes gnome-commander-data
    gnome-control-center-data gnome-hwp-support gnome-mahjongg gnome-screensaver gnome-tweaks gnucash-common
    hamster-time-tracker inkscape iso-codes kate5-data kazam kde-config-mobile-networking kde-telepathy-call-ui
    kdeconnect kdevelop-l10n kgeotag kjumpingcube krfb krita-l10n libapt-pkg6.0 libc-l10n libexo-2-0
    libgtk-4-common libkf5contacts-data libkf5dav-data libpwquality-common libreoffice-l10n-ko lightdm-settings
    lightsoff lxrandr nano p11-kit plasma-sdk qml-module-lomiri-components-extras synaptic systemsettings
    transmission-gtk vlc-l10n wdiff wget xfce4-mpc-plugin
""".split()  # noqa: SIM905  (a literal list would be a line for each)
HELP = ("libreoffice-help-en-us", "libreoffice-help-ko")
CATALOGUE = re.compile(r"/ko/LC_MESSAGES/[^/]+\.mo$")
PAGE = re.compile(r"/help/[^/]+/(text/.+\.html)$")
SPLITS, LANGUAGES = ("val", "test", "train"), ("en", "ko")
NUM_HELD_OUT = 1000
HELD_OUT_WORDS = range(5, 41)
BEGINNING_WORDS = 4


def fetch_software(folder: Path, base_url: str | None = None) -> list[Path]:
    """Build the corpus in FOLDER from packages of a Debian mirror; the files that are new, none where all are there.
    `base_url`: the mirror's folder that holds `dists` and `pool`. Raises CorpusError.
    """
    paths = {(split, language): folder / f"{split}.{language}.gz" for split in SPLITS for language in LANGUAGES}
    if all(path.exists() for path in paths.values()):
        return []
    packages = find_packages(base_url or BASE_URL, [*CATALOGUES, *HELP])
    texts = _texts(tqdm(packages[: -len(HELP)], desc="packages", disable=None), packages[-len(HELP) :])
    for split, pairs in zip(SPLITS, divide(choose_translations(texts), NUM_HELD_OUT), strict=True):
        for side, language in enumerate(LANGUAGES):
            content = "".join(f"{pair[side]}\n" for pair in pairs)
            write(paths[split, language], gzip.compress(content.encode("utf-8"), mtime=0))
    return list(paths.values())


def choose_translations(texts: Iterable[Pair]) -> list[Pair]:
    """Cleaned pairs with one translation for each source: the most frequent, of equals the first. Their order
    depends on the sources alone, and is random otherwise."""
    translations: dict[str, Counter[str]] = defaultdict(Counter)
    for text in texts:
        if pair := clean(*text):
            translations[pair[0]][pair[1]] += 1
    pairs = [(source, counts.most_common(1)[0][0]) for source, counts in translations.items()]
    return sorted(pairs, key=lambda pair: hashlib.sha256(pair[0].encode("utf-8")).digest())


def divide(pairs: Sequence[Pair], num_held_out: int) -> tuple[list[Pair], list[Pair], list[Pair]]:
    """Validation, test and training pairs. Validation and test get `num_held_out` sentences each, of 5 to 40 words
    and with a beginning that nothing else has. Raises CorpusError where there are not so many."""
    num_sources = Counter(_beginning(source) for source, _ in pairs)
    alone = [p for p in pairs if len(p[0].split()) in HELD_OUT_WORDS and num_sources[_beginning(p[0])] == 1]
    if len(alone) < 2 * num_held_out:
        raise CorpusError(f"{len(alone)} sentences for validation and test, {2 * num_held_out} are needed")
    validation, test = alone[:num_held_out], alone[num_held_out : 2 * num_held_out]
    held_out = {source for source, _ in validation + test}
    return validation, test, [pair for pair in pairs if pair[0] not in held_out]


def _beginning(source: str) -> tuple[str, ...]:
    return tuple(source.lower().split()[:BEGINNING_WORDS])


def _texts(catalogues: Iterable[Package], help_packages: Sequence[Package]) -> Iterator[Pair]:
    for package in catalogues:
        files = read_package(package, CATALOGUE)
        if not files:
            raise CorpusError(f"{package.name} holds no Korean catalogue")
        for path, content in files.items():
            yield from read_catalogue(content, f"{package.name}: {path}")
    source, target = (
        {page[1]: content for path, content in read_package(package, PAGE).items() if (page := PAGE.search(path))}
        for package in help_packages
    )
    if not source.keys() & target.keys():
        raise CorpusError(f"{' and '.join(package.name for package in help_packages)} have no page in common")
    for path in source:
        if path in target:
            yield from pair_pages(source[path], target[path], path)
