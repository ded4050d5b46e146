// How pieces of a vocabulary are written for people.

const SPACE = "\u2581";
const END = "</s>";

/** A piece that begins a word is written as it is, one that goes on a word with a hyphen before it. */
export function pieceLabel(piece: string): string {
  if (piece === END) return "end";
  if (piece === SPACE) return "space";
  if (piece.startsWith(SPACE)) return piece.slice(1);
  return /^\p{P}+$/u.test(piece) ? piece : `-${piece}`;
}

export function isEnd(piece: string): boolean {
  return piece === END;
}

/** A probability in per cent: as many digits as tell something. */
export function percent(probability: number): string {
  const value = 100 * probability;
  if (value >= 9.95 || value === 0) return `${Math.round(value)} %`;
  return value >= 0.1 ? `${value.toFixed(1)} %` : "< 0.1 %";
}
