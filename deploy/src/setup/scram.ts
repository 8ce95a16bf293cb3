/** PostgreSQL's SCRAM-SHA-256 verifiers (RFC 5803 form), made here so that no clear secret reaches the server. */
import { createHash, createHmac, pbkdf2Sync, randomBytes, timingSafeEqual } from 'node:crypto';

const ITERATIONS = 4_096;

/** The verifier of a secret of printable ASCII (which SASLprep leaves as it is). */
export const scramVerifier = (secret: string): string => verifierWith(secret, ITERATIONS, randomBytes(16));

/** Whether a verifier, as `pg_authid` holds it, is of this secret. */
export function isVerifierOf(verifier: string, secret: string): boolean {
  const [, iterations, salt] = /^SCRAM-SHA-256\$(\d+):([^$]+)\$/.exec(verifier) ?? [];
  if (iterations === undefined || salt === undefined) return false;
  const expected = Buffer.from(verifierWith(secret, Number(iterations), Buffer.from(salt, 'base64')));
  const found = Buffer.from(verifier);
  return expected.length === found.length && timingSafeEqual(expected, found);
}

function verifierWith(secret: string, iterations: number, salt: Buffer): string {
  const salted = pbkdf2Sync(secret, salt, iterations, 32, 'sha256');
  const keyed = (text: string): Buffer => createHmac('sha256', salted).update(text).digest();
  const stored = createHash('sha256').update(keyed('Client Key')).digest('base64');
  return `SCRAM-SHA-256$${iterations}:${salt.toString('base64')}$${stored}:${keyed('Server Key').toString('base64')}`;
}
