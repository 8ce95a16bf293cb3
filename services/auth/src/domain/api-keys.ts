/** API keys as they are written: `pst_<id to look it up by>_<secret of 256 bits>`. */
import { randomBytes } from 'node:crypto';

const SHAPE = /^pst_([0-9A-Za-z]{8})_([A-Za-z0-9_-]{43})$/;
const ALPHABET = 'abcdefghijklmnopqrstuvwxyz234567';

export interface ApiKeyParts {
  readonly id: string;
  readonly secret: string;
}

export function makeApiKey(): ApiKeyParts {
  const id = Array.from(randomBytes(8), (byte) => ALPHABET.charAt(byte % ALPHABET.length)).join('');
  return { id, secret: randomBytes(32).toString('base64url') };
}

export const writeApiKey = ({ id, secret }: ApiKeyParts): string => `pst_${id}_${secret}`;

export function parseApiKey(text: string): ApiKeyParts | undefined {
  const [, id, secret] = SHAPE.exec(text) ?? [];
  return id === undefined || secret === undefined ? undefined : { id, secret };
}
