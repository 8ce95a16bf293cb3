/** PostgreSQL's SCRAM-SHA-256 verifier (RFC 5803 form), made here so that no clear secret reaches the server or its log. */
import { createHash, createHmac, pbkdf2, randomBytes } from 'node:crypto';

const ITERATIONS = 4_096;

/** The verifier of a secret of printable ASCII, which SASLprep leaves as it is. */
export async function scramVerifier(secret: string, salt: Buffer = randomBytes(16)): Promise<string> {
  const salted = await salt256(secret, salt);
  const keyed = (text: string): Buffer => createHmac('sha256', salted).update(text).digest();
  const stored = createHash('sha256').update(keyed('Client Key')).digest('base64');
  return `SCRAM-SHA-256$${ITERATIONS}:${salt.toString('base64')}$${stored}:${keyed('Server Key').toString('base64')}`;
}

function salt256(secret: string, salt: Buffer): Promise<Buffer> {
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
  pbkdf2(secret, salt, ITERATIONS, 32, 'sha256', (error, salted) => (error === null ? resolve(salted) : reject(error)));
  return promise;
}
