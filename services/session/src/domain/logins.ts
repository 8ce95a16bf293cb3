import type { Principal } from '@postern/contracts/common';

import type { LoginLimit } from './login-limit.ts';
import type { Passwords, Patience } from './ports.ts';
import type { LiveSession, Sessions } from './sessions.ts';

export interface Credential {
  readonly name: string;
  readonly password: string;
  readonly client: string;
}

interface Refused {
  readonly kind: 'refused';
}
interface Locked {
  readonly kind: 'locked';
  readonly retryAfterSeconds: number;
}

export type Proof = { readonly kind: 'proved'; readonly principal: Principal } | Refused | Locked;

export type Login =
  | { readonly kind: 'opened'; readonly token: string; readonly session: LiveSession }
  | Refused
  | Locked
  /** Sessions of this principal are being ended faster than one can be opened. */
  | { readonly kind: 'unsettled' };

export interface Logins {
  /** Checks a password under the limit on failed logins. */
  prove(credential: Credential, patience: Patience): Promise<Proof>;
  logIn(credential: Credential & { readonly replaces?: string | undefined }, patience: Patience): Promise<Login>;
}

const OPENINGS_MAX = 3;

export interface LoginsOptions {
  readonly limit: LoginLimit;
  readonly passwords: Passwords;
  readonly sessions: Sessions;
}

export function createLogins({ limit, passwords, sessions }: LoginsOptions): Logins {
  const prove: Logins['prove'] = async ({ name, password, client }, patience) => {
    const admission = await limit.admit({ name, client }, patience);
    if (admission.kind === 'locked') return admission;
    const { reservation } = admission;
    const verification = await passwords.verify({ name, password }, patience).catch(async (error: unknown) => {
      // If the store is away as well the reservation lapses on its own.
      await limit.settle(reservation, 'unanswered').catch(() => {});
      throw error;
    });
    await limit.settle(reservation, verification.kind);
    return verification;
  };

  return {
    prove,
    async logIn({ replaces, ...credential }, patience) {
      for (let opening = 0; opening < OPENINGS_MAX; opening += 1) {
        const epoch = await sessions.epoch();
        const proof = await prove(credential, patience);
        if (proof.kind !== 'proved') return proof;
        const { client } = credential;
        const opened = await sessions.open({ principal: proof.principal, client, epoch, replaces });
        // What was proved may have been taken back meanwhile, so it is asked again.
        if (opened.kind === 'opened') return opened;
      }
      return { kind: 'unsettled' };
    },
  };
}
