import type { Principal } from '@postern/contracts/common';
import { createHash, randomBytes } from 'node:crypto';

import type { Clock, SessionStore, StoredSession, TellEnded } from './ports.ts';

export interface SessionPolicy {
  readonly idleMs: number;
  readonly absoluteMs: number;
  readonly perPrincipalMax: number;
}

export interface LiveSession {
  readonly id: string;
  readonly principal: Principal;
  readonly createdAtMs: number;
  readonly lastActivityAtMs: number;
  readonly client: string;
  readonly endsAtMs: number;
}

export type Resolution =
  | { readonly kind: 'live'; readonly session: LiveSession }
  | { readonly kind: 'expired' }
  | { readonly kind: 'unknown' };

export type Opening =
  | { readonly kind: 'opened'; readonly token: string; readonly session: LiveSession }
  /** The principal's sessions were all ended since `epoch`: what was proved then proves nothing now. */
  | { readonly kind: 'superseded' };

export interface OpenRequest {
  readonly principal: Principal;
  readonly client: string;
  /** From before the proof. */
  readonly epoch: number;
  readonly replaces?: string | undefined;
}

export interface Sessions {
  epoch(): Promise<number>;
  open(request: OpenRequest): Promise<Opening>;
  resolve(token: string): Promise<Resolution>;
  close(token: string): Promise<boolean>;
  list(principalId: string): Promise<readonly LiveSession[]>;
  /** Whether there was such a live session of this principal. */
  end(principalId: string, id: string): Promise<boolean>;
  /** How many live sessions ended. */
  endAll(principalId: string): Promise<number>;
}

/** A session that has ended is kept this much longer, so that its cookie is told "expired" and not "unknown". */
const FORGET_AFTER_MS = 300_000;
const RENEW_EVERY_MS_MAX = 60_000;

/**
 * Uses closer together than this are noted once. A session may so end up to a minute, or a hundredth of its idle time,
 * before the idle time is over, and never after.
 */
export const renewEveryMs = (idleMs: number): number => Math.min(RENEW_EVERY_MS_MAX, Math.floor(idleMs / 100));

/** The store never holds what a cookie holds: with a copy of the store nobody can make a cookie. */
export const hashToken = (token: string): string => createHash('sha256').update(token).digest('base64url');

export interface SessionsOptions {
  readonly store: SessionStore;
  readonly policy: SessionPolicy;
  readonly clock: Clock;
  readonly tellEnded: TellEnded;
}

export function createSessions({ store, policy, clock, tellEnded }: SessionsOptions): Sessions {
  const absoluteEndMs = ({ createdAtMs, principal }: StoredSession): number =>
    Math.min(createdAtMs + policy.absoluteMs, principal.expiresAt > 0 ? principal.expiresAt * 1_000 : Infinity);
  const endsAtMs = (stored: StoredSession): number => Math.min(absoluteEndMs(stored), stored.lastActivityAtMs + policy.idleMs);
  const hasEnded = (stored: StoredSession, nowMs: number): boolean => nowMs > endsAtMs(stored);
  const forgetAtMs = (stored: StoredSession): number => endsAtMs(stored) + FORGET_AFTER_MS;
  const present = (stored: StoredSession): LiveSession => ({
    ...stored,
    endsAtMs: endsAtMs(stored),
    principal: {
      ...stored.principal,
      method: 'session',
      sessionId: stored.id,
      // Not the idle end: that moves, and an assertion is kept for as long as its principal stays the same.
      expiresAt: Math.floor(absoluteEndMs(stored) / 1_000),
    },
  });
  const tell = ({ principal, id }: StoredSession): void => tellEnded({ principalId: principal.id, sessionId: id });

  return {
    epoch: () => store.epoch(),

    async open({ principal, client, epoch, replaces }) {
      const nowMs = clock.now();
      const token = randomBytes(32).toString('base64url');
      const id = randomBytes(16).toString('base64url');
      const session: StoredSession = { id, principal, createdAtMs: nowMs, lastActivityAtMs: nowMs, client };
      const creation = await store.create({
        session,
        tokenHash: hashToken(token),
        replaces: replaces === undefined ? undefined : hashToken(replaces),
        epoch,
        forgetAtMs: forgetAtMs(session),
        perPrincipalMax: policy.perPrincipalMax,
      });
      if (creation.kind === 'superseded') return creation;
      for (const ended of creation.ended) tell(ended);
      return { kind: 'opened', token, session: present(session) };
    },

    async resolve(token) {
      const tokenHash = hashToken(token);
      const found = await store.find(tokenHash);
      if (found === undefined) return { kind: 'unknown' };
      const nowMs = clock.now();
      if (hasEnded(found, nowMs)) {
        // What else the session has opened ends with it.
        if ((await store.end(tokenHash)) !== undefined) tell(found);
        return { kind: 'expired' };
      }
      if (nowMs - found.lastActivityAtMs < renewEveryMs(policy.idleMs)) return { kind: 'live', session: present(found) };
      const renewed = { ...found, lastActivityAtMs: nowMs };
      const isThere = await store.renew(tokenHash, { atMs: nowMs, forgetAtMs: forgetAtMs(renewed) });
      return isThere ? { kind: 'live', session: present(renewed) } : { kind: 'unknown' };
    },

    async close(token) {
      const ended = await store.end(hashToken(token));
      if (ended === undefined) return false;
      tell(ended);
      return !hasEnded(ended, clock.now());
    },

    async list(principalId) {
      const nowMs = clock.now();
      const stored = await store.list(principalId);
      return stored
        .filter((session) => !hasEnded(session, nowMs))
        .toSorted((one, other) => other.lastActivityAtMs - one.lastActivityAtMs)
        .map(present);
    },

    async end(principalId, id) {
      const ended = await store.endOne(principalId, id);
      if (ended === undefined) return false;
      tell(ended);
      return !hasEnded(ended, clock.now());
    },

    async endAll(principalId) {
      const ended = await store.endAll(principalId);
      tellEnded({ principalId });
      const nowMs = clock.now();
      return ended.filter((session) => !hasEnded(session, nowMs)).length;
    },
  };
}
