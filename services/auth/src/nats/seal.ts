import { CompactEncrypt, importJWK } from 'jose';

export interface SealTo {
  readonly kty: 'OKP';
  readonly crv: 'X25519';
  readonly x: string;
}

/** Encrypts a secret to the key of whoever asked (RFC 7516, RFC 8037); nothing if the key is none. */
export async function sealFor(sealTo: SealTo, secret: string): Promise<string | undefined> {
  try {
    const key = await importJWK(sealTo, 'ECDH-ES');
    return await new CompactEncrypt(new TextEncoder().encode(secret))
      .setProtectedHeader({ alg: 'ECDH-ES', enc: 'A256GCM' })
      .encrypt(key);
  } catch {
    return undefined;
  }
}
