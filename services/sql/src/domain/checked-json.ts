/** JSON of which it is not certain that it is any: a field of a composite type that may have another type by now. */
import type { Encoder, Pieces } from './encoder.ts';
import { fromPieces, json } from './encoder.ts';
import { JsonCheck } from './json-check.ts';
import type { Output } from './output.ts';

class CheckedPieces implements Pieces {
  readonly #check = new JsonCheck();
  readonly #json: Pieces;

  constructor(out: Output) {
    this.#json = json.pieces(out);
  }

  begin(): void {
    this.#check.begin();
    this.#json.begin();
  }

  write(bytes: Buffer, from: number, to: number): void {
    this.#check.write(bytes, from, to);
    this.#json.write(bytes, from, to);
  }

  end(): void {
    this.#check.end();
    this.#json.end();
  }
}

export const checkedJson: Encoder = fromPieces((out) => new CheckedPieces(out));
