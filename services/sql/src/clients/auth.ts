/** The one call that sql makes of auth for a person: the password of their own database login. */
import type { authService } from '@postern/contracts/auth';
import { Failure, isFailure } from '@postern/contracts/failure';
import type { Client } from '@postern/rpc/client';
import { compactDecrypt, exportJWK, generateKeyPair } from 'jose';

import type { Caller, Logins } from '../domain/ports.ts';

/**
 * Passwords travel sealed to a key of this process. A lent one is remembered until it is forgotten, so that auth may
 * be slow or restarting while people who are known here work on.
 */
export async function createLogins(auth: Pick<Client<typeof authService>, 'lendDatabaseLogin'>): Promise<Logins> {
  const { publicKey, privateKey } = await generateKeyPair('ECDH-ES', { crv: 'X25519' });
  const { x } = await exportJWK(publicKey);
  if (x === undefined) throw new Failure('INTERNAL', { cause: 'no public key' });
  const sealTo = { kty: 'OKP', crv: 'X25519', x } as const;
  const lent = new Map<string, Promise<string>>();
  const healing = new Map<string, Promise<string>>();

  const ask = async ({ assertion, principal }: Caller, refused?: true): Promise<string> => {
    try {
      const { dbRole, sealedPassword } = await auth.lendDatabaseLogin({ assertion, sealTo, ...(refused && { refused }) });
      if (dbRole !== principal.dbRole) throw new Failure('INTERNAL', { cause: 'auth lent the login of another role' });
      const { plaintext } = await compactDecrypt(sealedPassword, privateKey, {
        keyManagementAlgorithms: ['ECDH-ES'],
        contentEncryptionAlgorithms: ['A256GCM'],
      });
      return Buffer.from(plaintext).toString('utf8');
    } catch (error) {
      // Without a login there is no session to be had: to the caller that is the same as auth being away.
      if (isFailure(error, 'TIMEOUT')) throw new Failure('UNAVAILABLE', { cause: error });
      throw error;
    }
  };

  const remember = (role: string, asked: Promise<string>): Promise<string> => {
    lent.set(role, asked);
    asked.catch(() => {
      if (lent.get(role) === asked) lent.delete(role);
    });
    return asked;
  };

  return {
    lend(caller) {
      const role = caller.principal.dbRole;
      return lent.get(role) ?? remember(role, ask(caller));
    },
    heal(caller) {
      const role = caller.principal.dbRole;
      const known = healing.get(role);
      if (known !== undefined) return known;
      const asked = remember(role, ask(caller, true));
      const end = (): void => void healing.delete(role);
      healing.set(role, asked);
      asked.then(end, end);
      return asked;
    },
    forget(role) {
      lent.delete(role);
    },
  };
}
