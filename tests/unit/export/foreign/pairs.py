"""Small foreign pairs with random weights, in the ways in which others export them, and a plain search over each.

The search runs the graphs in onnx's own evaluator, one sentence at a time: it shares nothing with what serves.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

HIDDEN = 8
TOKENS = ["<pad>", "<s>", "</s>", "<unk>", " ", *"abcdefgh"]
SIZE = len(TOKENS)
PAD, BEGIN, END, UNKNOWN = range(4)
MAX_LENGTH = 12
EXAMPLES = ["abc", "hg fe", "a", "dead beef", "cab", "gag", "fade", "bed a bee", "hhh", "ac"]
VOCABULARY = """
tokenizer = "characters"
vocabulary = "tokens.json"
unknown = "<unk>"
pad = "<pad>"
"""
HEADER = """
name = "{name}"
source_language = "xx"
target_language = "yy"
max_source_length = 16
max_target_length = 12
examples = ["abc", "hg fe", "a", "dead beef"]
"""
SIDES = f"""
[source]{VOCABULARY}after = ["</s>"]

[target]{VOCABULARY}begin = "<s>"
end = "</s>"
never = ["<pad>", "<unk>"]
"""
STEP = """
  e = Gather(emb, told)
  {attend}
  cat = Concat<axis=-1>(e, h, c)
  z = MatMul(cat, w_dec)
  h2 = Tanh(z)
  o = MatMul(h2, w_out)
"""
ATTEND = """
  one = Constant<value_ints=[1]>()
  q = Unsqueeze(h, one)
  turned = Transpose<perm=[0,2,1]>(mem)
  raw = MatMul(q, turned)
  k = Unsqueeze(keep, one)
  low = Constant<value_float=-1e9>()
  kept = Where(k, raw, low)
  p = Softmax<axis=-1>(kept)
  c3 = MatMul(p, mem)
  c = Squeeze(c3, one)
"""
MEAN_ENCODER = """
  e = Gather(emb, src)
  m = MatMul(e, w_enc)
  memory = Tanh(m)
  f = Cast<to=1>(keep)
  two = Constant<value_ints=[2]>()
  g = Unsqueeze(f, two)
  inside = Mul(memory, g)
  one = Constant<value_ints=[1]>()
  total = ReduceSum<keepdims=0>(inside, one)
  count = ReduceSum<keepdims=0>(g, one)
  start = Div(total, count)
"""
MASKED_DECODER = f"""decoder (int64[b] told, float[b, n, 8] mem, bool[b, n] keep, float[b, 8] h)
 => (float[b, 13] log_p, float[b, 8] h2, float[b, 1, n] p) {{
  {STEP.format(attend=ATTEND)}
  log_p = LogSoftmax(o)
}}"""

Inputs = dict[str, np.ndarray]


@dataclass(frozen=True)
class Pair:
    """first: the encoder's inputs for a source; next: the decoder's, from the encoder's outputs, the tokens told so far
    and the decoder's outputs before, none at first; scores: the last step's (vocabulary,) in its outputs."""

    name: str
    encoder: onnx.ModelProto
    decoder: onnx.ModelProto
    mapping: str
    first: Callable[[Sequence[int]], Inputs]
    next: Callable[[Inputs, list[int], Inputs | None], Inputs]
    scores: Callable[[Inputs], np.ndarray]

    def write(self, folder: Path) -> Path:
        """The graphs, the vocabulary and MAPPING.toml in FOLDER; the mapping's path."""
        folder.mkdir(parents=True, exist_ok=True)
        onnx.save(self.encoder, folder / "encoder.onnx")
        onnx.save(self.decoder, folder / "decoder.onnx")
        (folder / "tokens.json").write_text(json.dumps(TOKENS), encoding="utf-8")
        path = folder / "MAPPING.toml"
        path.write_text(self.mapping, encoding="utf-8")
        return path

    def translate(self, text: str) -> str:
        """Greedily; the text."""
        encoder, decoder = ReferenceEvaluator(self.encoder), ReferenceEvaluator(self.decoder)
        source = [TOKENS.index(character) for character in text] + [END]
        encoded = _run(encoder, self.first(source))
        told, made = [BEGIN], None
        while told[-1] != END and len(told) <= MAX_LENGTH:
            made = _run(decoder, self.next(encoded, told, made))
            scores = np.array(self.scores(made), np.float64)
            scores[[PAD, UNKNOWN]] = -np.inf
            told.append(int(scores.argmax()))
        return "".join(TOKENS[token] for token in told[1:] if token != END and token != BEGIN).strip()


def _run(evaluator: ReferenceEvaluator, inputs: Inputs) -> Inputs:
    return dict(zip(evaluator.output_names, evaluator.run(None, inputs), strict=True))


def graph(text: str, seed: int = 3) -> onnx.ModelProto:
    """A graph of onnx's text form, with the random weights that it names."""
    model = onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["" : 17]>\n{text}')
    rng = np.random.default_rng(seed)
    shapes = {
        "emb": (SIZE, HIDDEN),
        "w_enc": (HIDDEN, HIDDEN),
        "w_dec": (3 * HIDDEN, HIDDEN),
        "w_out": (HIDDEN, SIZE),
        "w_gru": (2, 3 * HIDDEN // 2, HIDDEN),
        "r_gru": (2, 3 * HIDDEN // 2, HIDDEN // 2),
    }
    named = {name for node in model.graph.node for name in node.input}
    for name, shape in shapes.items():
        weight = rng.normal(size=shape).astype(np.float32)
        if name in named:
            model.graph.initializer.append(numpy_helper.from_array(weight, name))
    onnx.checker.check_model(model)
    return model


def ids(values: Sequence[int], shape: Sequence[int], dtype: type = np.int64) -> np.ndarray:
    return np.array(values, dtype).reshape(shape)


def with_a_mask() -> Pair:
    """A recurrent decoder with attention, batch first, a mask of tokens in both graphs, log-probabilities."""
    encoder = (
        f"encoder (int64[b, n] src, bool[b, n] keep) => (float[b, n, 8] memory, float[b, 8] start) {{{MEAN_ENCODER}}}"
    )
    mapping = (
        HEADER.format(name="with-a-mask")
        + """
[encoder]
file = "encoder.onnx"
source_ids = "src"
source_mask = { input = "keep" }

[decoder]
file = "decoder.onnx"
last_token = "told"
source_mask = { input = "keep" }
log_probabilities = "log_p"
attention = "p"

[[states]]
input = "mem"
from_encoder = "memory"

[[states]]
input = "h"
from_encoder = "start"
becomes = "h2"
"""
    )

    def step(encoded: Inputs, told: list[int], made: Inputs | None) -> Inputs:
        keep = np.ones(encoded["memory"].shape[:2], bool)
        hidden = encoded["start"] if made is None else made["h2"]
        return {"told": ids([told[-1]], [1]), "mem": encoded["memory"], "keep": keep, "h": hidden}

    return Pair(
        "with-a-mask",
        graph(encoder, 11),
        graph(MASKED_DECODER, 11),
        mapping + SIDES,
        lambda source: {"src": ids(source, [1, -1]), "keep": np.ones((1, len(source)), bool)},
        step,
        lambda made: made["log_p"][0],
    )


def with_lengths() -> Pair:
    """Time first, as torch's recurrent layers have it: a bidirectional GRU that reads lengths, a hidden state of
    (layers, batch, hidden), logits (1, batch, vocabulary)."""
    encoder = """encoder (int64[n, b] src, int32[b] lengths) => (float[n, b, 8] memory, float[1, b, 8] start) {
  e = Gather(emb, src)
  y, last = GRU<hidden_size=4, direction="bidirectional">(e, w_gru, r_gru, , lengths)
  turned = Transpose<perm=[0,2,1,3]>(y)
  shape = Constant<value_ints=[0, 0, 8]>()
  memory = Reshape(turned, shape)
  both = Transpose<perm=[1,0,2]>(last)
  flat = Constant<value_ints=[1, -1, 8]>()
  start = Reshape(both, flat)
}"""
    attend = (
        """
  zero = Constant<value_int=0>()
  one_ = Constant<value_int=1>()
  shape = Shape(timed)
  n_ = Gather(shape, zero)
  places = Range(zero, n_, one_)
  axis = Constant<value_ints=[1]>()
  column = Unsqueeze(wide, axis)
  keep = Less(places, column)
  mem = Transpose<perm=[1,0,2]>(timed)"""
        + ATTEND
    )
    decoder = f"""decoder (int64[1, b] fed, float[n, b, 8] timed, int32[b] lengths, float[1, b, 8] h1)
 => (float[1, b, 13] logits, float[1, b, 8] h3) {{
  first = Constant<value_ints=[0]>()
  told = Squeeze(fed, first)
  h = Squeeze(h1, first)
  wide = Cast<to=7>(lengths)
  {STEP.format(attend=attend)}
  logits = Unsqueeze(o, first)
  h3 = Unsqueeze(h2, first)
}}"""
    mapping = (
        HEADER.format(name="with-lengths")
        + """
[encoder]
file = "encoder.onnx"
source_ids = "src"
source_lengths = "lengths"
time_major = true

[decoder]
file = "decoder.onnx"
last_token = "fed"
source_lengths = "lengths"
logits = "logits"
time_major = true

[[states]]
input = "timed"
from_encoder = "memory"

[[states]]
input = "h1"
from_encoder = "start"
becomes = "h3"
"""
    )

    def step(encoded: Inputs, told: list[int], made: Inputs | None) -> Inputs:
        hidden = encoded["start"] if made is None else made["h3"]
        lengths = ids([len(encoded["memory"])], [1], np.int32)
        return {"fed": ids([told[-1]], [1, 1]), "timed": encoded["memory"], "lengths": lengths, "h1": hidden}

    return Pair(
        "with-lengths",
        graph(encoder, 8),
        graph(decoder, 8),
        mapping + SIDES,
        lambda source: {"src": ids(source, [-1, 1]), "lengths": ids([len(source)], [1], np.int32)},
        step,
        lambda made: made["logits"][0, 0],
    )


PREFIX_MAPPING = """
[encoder]
file = "encoder.onnx"
source_ids = "src"
source_mask = { input = "keep" }

[decoder]
file = "decoder.onnx"
prefix = "so_far"
log_probabilities = "log_p"

[[states]]
input = "start"
from_encoder = "start"
"""
HISTORIES = {
    "last": ("float[b, 13] log_p", "w = ReduceSum<keepdims=0>(e, one)"),
    "every": ("float[b, t, 13] log_p", "w = CumSum(e, axis)"),
    "backwards": ("float[b, t, 13] log_p", "w = CumSum<reverse=1>(e, axis)"),
}


def with_the_prefix(history: str) -> Pair:
    """No states but the encoder's: all tokens so far are read at every step. "last": scores of the last one alone;
    "every": of each, from those before it; "backwards": of each, from those after it, which a loop can only use for the
    first."""
    output, gather = HISTORIES[history]
    encoder = f"encoder (int64[b, n] src, bool[b, n] keep) => (float[b, 8] start) {{{MEAN_ENCODER}}}"
    decoder = f"""decoder (int64[b, t] so_far, float[b, 8] start) => ({output}) {{
  axis = Constant<value_int=1>()
  one = Constant<value_ints=[1]>()
  e = Gather(emb, so_far)
  {gather}
  s = {"Unsqueeze(start, one)" if history != "last" else "Identity(start)"}
  four = Constant<value_float=4.0>()
  s4 = Mul(s, four)
  added = Add(w, s4)
  z = MatMul(added, w_enc)
  h = Sin(z)
  o = MatMul(h, w_out)
  log_p = LogSoftmax<axis=-1>(o)
}}"""
    return Pair(
        f"prefix-{history}",
        graph(encoder),
        graph(decoder),
        HEADER.format(name=f"prefix-{history}") + PREFIX_MAPPING + SIDES,
        lambda source: {"src": ids(source, [1, -1]), "keep": np.ones((1, len(source)), bool)},
        lambda encoded, told, _: {"so_far": ids(told, [1, -1]), "start": encoded["start"]},
        lambda made: made["log_p"].reshape(-1, SIZE)[-1],
    )


def with_a_batch_of_one() -> Pair:
    """Every batch axis fixed to 1, no mask, no lengths: what somebody exports who needs one sentence at a time."""
    pair = with_a_mask()
    encoder = """encoder (int64[1, n] src) => (float[1, n, 8] memory, float[1, 8] start) {
  e = Gather(emb, src)
  m = MatMul(e, w_enc)
  memory = Tanh(m)
  one = Constant<value_ints=[1]>()
  start = ReduceMean<axes=[1], keepdims=0>(memory)
}"""
    attend = (
        ATTEND.replace("k = Unsqueeze(keep, one)", "")
        .replace("low = Constant<value_float=-1e9>()", "")
        .replace("kept = Where(k, raw, low)", "kept = Identity(raw)")
    )
    decoder = (
        "decoder (int64[1] told, float[1, n, 8] mem, float[1, 8] h) => (float[1, 13] log_p, float[1, 8] h2)"
        f" {{{STEP.format(attend=attend)}\nlog_p = LogSoftmax(o)}}"
    )
    mapping = pair.mapping.replace("with-a-mask", "batch-of-one").replace('source_mask = { input = "keep" }\n', "")

    def step(encoded: Inputs, told: list[int], made: Inputs | None) -> Inputs:
        return {
            "told": ids([told[-1]], [1]),
            "mem": encoded["memory"],
            "h": encoded["start"] if made is None else made["h2"],
        }

    return Pair(
        "batch-of-one",
        graph(encoder, 11),
        graph(decoder, 11),
        mapping.replace('attention = "p"\n', ""),
        lambda source: {"src": ids(source, [1, -1])},
        step,
        lambda made: made["log_p"][0],
    )


def without_a_mask_in_the_encoder() -> Pair:
    """A bidirectional GRU that runs over padding as if it were text, and a decoder that has a mask."""
    pair = with_a_mask()
    encoder = """encoder (int64[b, n] src, bool[b, n] keep) => (float[b, n, 8] memory, float[b, 8] start) {
  e = Gather(emb, src)
  timed = Transpose<perm=[1,0,2]>(e)
  y, last = GRU<hidden_size=4, direction="bidirectional">(timed, w_gru, r_gru)
  turned = Transpose<perm=[2,0,1,3]>(y)
  shape = Constant<value_ints=[0, 0, 8]>()
  memory = Reshape(turned, shape)
  both = Transpose<perm=[1,0,2]>(last)
  flat = Constant<value_ints=[0, 8]>()
  start = Reshape(both, flat)
  unused = Not(keep)
}"""
    return Pair(
        "unmasked-encoder",
        graph(encoder, 8),
        graph(MASKED_DECODER, 8),
        pair.mapping.replace("with-a-mask", "unmasked-encoder"),
        pair.first,
        pair.next,
        pair.scores,
    )


def with_a_growing_cache() -> Pair:
    """Self-attention over a cache that every step makes one entry longer, and a number of the position."""
    encoder = f"encoder (int64[b, n] src, bool[b, n] keep) => (float[b, 8] start) {{{MEAN_ENCODER}}}"
    decoder = """decoder (int64[b, 1] told, int64[b, 1] place, float[b, 8] start, float[b, 1, past, 8] old)
 => (float[b, 1, 13] logits, float[b, 1, now, 8] new) {
  e3 = Gather(emb, told)
  f = Cast<to=1>(place)
  two = Constant<value_ints=[2]>()
  f3 = Unsqueeze(f, two)
  wave = Sin(f3)
  one = Constant<value_ints=[1]>()
  s = Unsqueeze(start, one)
  es = Add(e3, s)
  x = Add(es, wave)
  entry = Unsqueeze(x, one)
  new = Concat<axis=2>(old, entry)
  turned = Transpose<perm=[0,1,3,2]>(new)
  a = MatMul(entry, turned)
  p = Softmax<axis=-1>(a)
  c = MatMul(p, new)
  c3 = Squeeze(c, one)
  z = MatMul(c3, w_enc)
  h = Sin(z)
  logits = MatMul(h, w_out)
}"""
    mapping = (
        HEADER.format(name="growing-cache")
        + """
[encoder]
file = "encoder.onnx"
source_ids = "src"
source_mask = { input = "keep" }

[decoder]
file = "decoder.onnx"
last_token = "told"
positions = "place"
logits = "logits"

[[states]]
input = "start"
from_encoder = "start"

[[states]]
input = "old"
becomes = "new"
"""
    )

    def step(encoded: Inputs, told: list[int], made: Inputs | None) -> Inputs:
        old = np.zeros((1, 1, 0, 8), np.float32) if made is None else made["new"]
        place = ids([len(told) - 1], [1, 1])
        return {"told": ids([told[-1]], [1, 1]), "place": place, "start": encoded["start"], "old": old}

    return Pair(
        "growing-cache",
        graph(encoder, 30),
        graph(decoder, 30),
        mapping + SIDES,
        lambda source: {"src": ids(source, [1, -1]), "keep": np.ones((1, len(source)), bool)},
        step,
        lambda made: made["logits"][0, 0],
    )


PAIRS: dict[str, tuple[Callable[[], Pair], str]] = {
    "with-a-mask": (with_a_mask, "encoder: any rows together; steps: any rows together"),
    "with-lengths": (with_lengths, "encoder: any rows together; steps: any rows together"),
    "prefix-last": (
        lambda: with_the_prefix("last"),
        "encoder: any rows together; steps: rows of equal age a run",
    ),
    "prefix-every": (lambda: with_the_prefix("every"), "encoder: any rows together; steps: any rows together"),
    "prefix-backwards": (
        lambda: with_the_prefix("backwards"),
        "encoder: any rows together; steps: rows of equal age a run",
    ),
    "batch-of-one": (with_a_batch_of_one, "encoder: one row a run; steps: one row a run"),
    "unmasked-encoder": (
        without_a_mask_in_the_encoder,
        "encoder: rows of equal source length a run; steps: any rows together",
    ),
    "growing-cache": (with_a_growing_cache, "encoder: any rows together; steps: rows of equal age a run"),
}
"""Every pair, and what its rows may share."""
