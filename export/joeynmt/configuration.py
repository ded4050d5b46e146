"""config.yaml of JoeyNMT: what a translation depends on, with JoeyNMT's own defaults. The rest of the file is ignored,
as JoeyNMT does."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, ValidationError

from export.errors import ImportedModelError, one_line

CONFIGURATION_FILE = "config.yaml"


class _Section(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Embeddings(_Section):
    embedding_dim: PositiveInt = 64
    scale: bool = False


class RecurrentEncoder(_Section):
    type: Literal["recurrent"]
    rnn_type: Literal["gru", "lstm"] = "gru"
    hidden_size: PositiveInt = 1
    num_layers: PositiveInt = 1
    bidirectional: Literal[True] = Field(True, description="JoeyNMT itself cannot run another")
    embeddings: Embeddings


class RecurrentDecoder(_Section):
    type: Literal["recurrent"]
    rnn_type: Literal["gru", "lstm"] = "gru"
    hidden_size: PositiveInt
    num_layers: PositiveInt = 1
    attention: Literal["bahdanau", "luong"] = "bahdanau"
    init_hidden: Literal["bridge", "last", "zero"] = "bridge"
    input_feeding: bool = True
    activation: Literal["tanh"] = Field("tanh", description="JoeyNMT itself cannot run another")
    embeddings: Embeddings = Embeddings()


class _Transformer(_Section):
    type: Literal["transformer"]
    hidden_size: PositiveInt = 512
    ff_size: PositiveInt = 2048
    num_layers: PositiveInt
    num_heads: PositiveInt
    alpha: PositiveFloat = Field(1.0, description="of residual connections (DeepNet)")
    layer_norm: Literal["pre", "post"] = Field(description="without it JoeyNMT makes encoder and decoder unlike")
    activation: Literal["relu", "gelu", "swish"] = "relu"
    embeddings: Embeddings = Embeddings()


class TransformerEncoder(_Transformer):
    num_layers: PositiveInt = 8
    num_heads: PositiveInt = 4


class TransformerDecoder(_Transformer):
    num_layers: PositiveInt = 4
    num_heads: PositiveInt = 8


class Model(_Section):
    encoder: Annotated[RecurrentEncoder | TransformerEncoder, Field(discriminator="type")]
    decoder: Annotated[RecurrentDecoder | TransformerDecoder, Field(discriminator="type")]
    tied_embeddings: bool = False
    tied_softmax: bool = False


class TokenizerOptions(_Section):
    pretokenizer: Literal["none"] = "none"
    model_file: str | None = None


class Side(_Section):
    """How texts of one language are read; voc_file and model_file are paths, of which the names count."""

    lang: str
    level: Literal["bpe", "word", "char"]
    lowercase: bool = False
    normalize: Literal[False] = False
    has_prompt: Literal[False] = False
    voc_file: str | None = None
    tokenizer_type: Literal["sentencepiece"] = "sentencepiece"
    tokenizer_cfg: TokenizerOptions = TokenizerOptions()


class SpecialSymbols(_Section):
    unk_id: int = 0
    unk_token: str = "<unk>"  # noqa: S105
    pad_id: int = 1
    pad_token: str = "<pad>"  # noqa: S105
    bos_id: int = 2
    bos_token: str = "<s>"  # noqa: S105
    eos_id: int = 3
    eos_token: str = "</s>"  # noqa: S105
    sep_token: None = None
    lang_tags: tuple[()] = ()

    @property
    def tokens(self) -> dict[int, str]:
        return {
            self.unk_id: self.unk_token,
            self.pad_id: self.pad_token,
            self.bos_id: self.bos_token,
            self.eos_id: self.eos_token,
        }


class Data(_Section):
    src: Side
    trg: Side
    special_symbols: SpecialSymbols = SpecialSymbols()


class Testing(_Section):
    load_model: str | None = None
    max_output_length: int = -1
    beam_alpha: float = -1.0
    generate_unk: bool = True
    repetition_penalty: float = Field(-1.0, le=1.0)
    no_repeat_ngram_size: int = Field(-1, le=0)


class Configuration(_Section):
    model: Model
    data: Data
    testing: Testing = Testing()


def load_yaml(folder: Path) -> dict[str, Any]:
    """config.yaml as it is; raises ImportedModelError."""
    path = folder / CONFIGURATION_FILE
    if not path.is_file():
        raise ImportedModelError(f"{folder} has no {CONFIGURATION_FILE}, as JoeyNMT's training copies it there")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (ValueError, yaml.YAMLError) as error:
        raise ImportedModelError(f"{path} cannot be read: {one_line(error)}") from error
    if not isinstance(content, dict) or not isinstance(content.get("model"), dict):
        raise ImportedModelError(f"{path} is no configuration of JoeyNMT: it has no model")
    return content


def read_configuration(folder: Path) -> Configuration:
    """Raises ImportedModelError, which names the part of the file that is not supported."""
    content = load_yaml(folder)
    try:
        return Configuration.model_validate(_with_defaults(content))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(one) for one in first["loc"] if one not in ("recurrent", "transformer"))
        if first["type"] == "missing":
            raise ImportedModelError(f"{place} is missing in {CONFIGURATION_FILE}") from error
        value = first["input"]
        if first["type"] == "union_tag_invalid":
            place, value = f"{place}.type", value["type"]
        what = f"{place} = {value!r} in {CONFIGURATION_FILE}"
        raise ImportedModelError(f"{what} is not supported: {first['msg']}") from error


def _with_defaults(content: dict[str, Any]) -> dict[str, Any]:
    """With the defaults that depend on the place, and without obsolete names."""
    model = dict(content["model"])
    for part, kind in (("encoder", "recurrent"), ("decoder", "transformer")):
        if isinstance(model.get(part), dict):
            model[part] = {"type": kind, **model[part]}
    data = dict(content.get("data") or {})
    for side in ("src", "trg"):
        if isinstance(data.get(side), dict) and "bpe_type" in data[side]:
            data[side] = {"tokenizer_type": data[side]["bpe_type"], **data[side]}
    testing = dict(content.get("testing") or {})
    if "alpha" in testing:
        testing["beam_alpha"] = testing["alpha"]
    return {"model": model, "data": data, "testing": testing}
