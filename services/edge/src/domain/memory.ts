/** What the edge remembers for seconds: who a credential stands for, and the signed form of a principal. */
import type { Audience, Principal } from '@postern/contracts/common';
import { hash } from 'node:crypto';

import type { Call, Clock, Mint, Minted, Revocation, Verdict } from './ports.ts';

/** The key of a tuple: no two tuples share one, whatever their parts hold (imm-027, imm-051). */
export const tupleKey = (...parts: readonly string[]): string => hash('sha256', JSON.stringify(parts), 'base64url');

export interface MemoryOptions {
  readonly clock: Clock;
  readonly ttlMs: number;
  readonly max: number;
}

export interface IdentityMemory {
  /** The remembered principal, at once, if there is one. */
  recall(key: string): Principal | undefined;
  /** Asks, once for all who ask the same at the same time. Only a principal is remembered. */
  learn(key: string, ask: () => Promise<Verdict>): Promise<Verdict>;
  forget(revocation: Revocation): void;
  clear(): void;
}

/** Beyond it, whatever is under way counts as older than the news. */
const NEWS_MAX = 1_000;

const concerns = ({ principalId, tokenId, sessionId }: Revocation, principal: Principal): boolean =>
  principal.id === principalId &&
  (tokenId === undefined || principal.tokenId === tokenId) &&
  (sessionId === undefined || principal.sessionId === sessionId);

export function createIdentityMemory({ clock, ttlMs, max }: MemoryOptions): IdentityMemory {
  const remembered = new Map<string, { readonly principal: Principal; readonly untilMs: number }>();
  const underWay = new Map<string, Promise<Verdict>>();
  /** Revocations heard while questions are under way: an answer may be older than the news. */
  const news: Revocation[] = [];
  let cleared = 0;

  const askAndKeep = async (key: string, ask: () => Promise<Verdict>): Promise<Verdict> => {
    for (let attempt = 0; ; attempt += 1) {
      const heard = news.length;
      const epoch = cleared;
      const verdict = await ask();
      if (verdict.kind !== 'principal') return verdict;
      const { principal } = verdict;
      const stale = cleared !== epoch || news.slice(heard).some((revocation) => concerns(revocation, principal));
      if (stale && attempt === 0) continue;
      if (!stale) keep(key, principal);
      return verdict;
    }
  };
  const keep = (key: string, principal: Principal): void => {
    const endMs = principal.expiresAt === 0 ? Infinity : principal.expiresAt * 1_000;
    remembered.delete(key);
    if (remembered.size >= max) remembered.delete(remembered.keys().next().value ?? '');
    remembered.set(key, { principal, untilMs: Math.min(clock.nowMs() + ttlMs, endMs) });
  };

  return {
    recall(key) {
      const found = remembered.get(key);
      if (found === undefined) return undefined;
      if (found.untilMs > clock.nowMs()) return found.principal;
      remembered.delete(key);
      return undefined;
    },
    learn(key, ask) {
      const known = underWay.get(key);
      if (known !== undefined) return known;
      const asking = askAndKeep(key, ask).finally(() => {
        underWay.delete(key);
        if (underWay.size === 0) news.length = 0;
      });
      underWay.set(key, asking);
      return asking;
    },
    forget(revocation) {
      if (underWay.size > 0) news.push(revocation);
      if (news.length > NEWS_MAX) {
        cleared += 1;
        news.length = 0;
      }
      for (const [key, { principal }] of remembered) if (concerns(revocation, principal)) remembered.delete(key);
    },
    clear() {
      cleared += 1;
      remembered.clear();
    },
  };
}

/** Hears what ends while something that takes time is done for somebody. */
export interface RevocationWatch extends Disposable {
  /** Whether this principal may have ended since the watch began, or since `forget`. */
  concerns(principal: Principal): boolean;
  forget(): void;
  /** Called at most once, when what is heard concerns this principal. */
  onceConcerned(principal: Principal, act: () => void): void;
}

export interface RevocationWatches {
  begin(): RevocationWatch;
  hear(revocation: Revocation): void;
  /** News may have been missed: everybody may have ended. */
  missed(): void;
}

export function createRevocationWatches(): RevocationWatches {
  interface Open {
    readonly heard: Revocation[];
    hasMissed: boolean;
    told: (() => void) | undefined;
  }
  const open = new Set<Open>();
  const tell = (): void => {
    for (const { told } of open) told?.();
  };
  return {
    begin() {
      const watch: Open = { heard: [], hasMissed: false, told: undefined };
      open.add(watch);
      const isConcerned = (principal: Principal): boolean =>
        watch.hasMissed || watch.heard.some((revocation) => concerns(revocation, principal));
      return {
        concerns: isConcerned,
        forget() {
          watch.heard.length = 0;
          watch.hasMissed = false;
        },
        onceConcerned(principal, act) {
          watch.told = () => {
            if (!isConcerned(principal)) return;
            watch.told = undefined;
            act();
          };
        },
        [Symbol.dispose]: () => void open.delete(watch),
      };
    },
    hear(revocation) {
      for (const watch of open) {
        if (watch.heard.length < NEWS_MAX) watch.heard.push(revocation);
        else watch.hasMissed = true;
      }
      tell();
    },
    missed() {
      for (const watch of open) watch.hasMissed = true;
      tell();
    },
  };
}

export interface AssertionMemory {
  /** A signed form that is still good for the while a request needs. */
  assertionFor(principal: Principal, audience: Audience, call: Call): string | Promise<string>;
  forget(revocation: Revocation): void;
  clear(): void;
}

/** An assertion is not used in its last seconds: it has to last until the service has read it. */
const MARGIN_MS = 8_000;

export function createAssertionMemory(mint: Mint, { clock, max }: Omit<MemoryOptions, 'ttlMs'>): AssertionMemory {
  const minted = new Map<string, Minted & { readonly principal: Principal }>();
  const underWay = new Map<string, Promise<string>>();
  /** The key of a principal is long; it is made once per object and audience. */
  const keys = new WeakMap<Principal, Map<Audience, string>>();

  const keyOf = (principal: Principal, audience: Audience): string => {
    const known = keys.get(principal) ?? new Map<Audience, string>();
    keys.set(principal, known);
    const key = known.get(audience) ?? tupleKey(audience, JSON.stringify(principal));
    known.set(audience, key);
    return key;
  };
  const mintAndKeep = async (key: string, ...asked: Parameters<Mint>): Promise<string> => {
    const [principal] = asked;
    const fresh = await mint(...asked);
    minted.delete(key);
    if (minted.size >= max) minted.delete(minted.keys().next().value ?? '');
    minted.set(key, { ...fresh, principal });
    return fresh.assertion;
  };

  return {
    assertionFor(principal, audience, call) {
      const key = keyOf(principal, audience);
      const known = minted.get(key);
      if (known !== undefined && known.expiresAt * 1_000 - MARGIN_MS > clock.nowMs()) return known.assertion;
      const asking = underWay.get(key) ?? mintAndKeep(key, principal, audience, call).finally(() => underWay.delete(key));
      underWay.set(key, asking);
      return asking;
    },
    forget(revocation) {
      for (const [key, { principal }] of minted) if (concerns(revocation, principal)) minted.delete(key);
    },
    clear: () => minted.clear(),
  };
}
