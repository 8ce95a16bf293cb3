/** How long sockets may live: what was proved when they were opened may end before they do, and so may this process. */
import type { Caller } from '../../domain/ports.ts';

export interface Ending {
  /** Of the WebSocket close. */
  readonly code: number;
  readonly reason: string;
}

export const CREDENTIAL_REVOKED: Ending = { code: 4401, reason: 'the credential was revoked' };
export const CREDENTIAL_EXPIRED: Ending = { code: 4401, reason: 'the credential has expired' };
export const SESSION_ENDED: Ending = { code: 4401, reason: 'the session has ended' };
export const REVOCATION_MISSED: Ending = { code: 1012, reason: 'a revocation may have been missed' };
export const GOING_AWAY: Ending = { code: 1001, reason: 'the service is going away' };
export const DATABASE_LOST: Ending = { code: 1011, reason: 'the database session is lost' };

/** The payload of a ping by which the edge, which passes frames on unread, asks for what {@link LivingSocket.drain} does. */
export const DRAIN_PING = 'postern-drain';

export interface LivingSocket {
  readonly caller: Caller;
  /** Ends now: what runs is canceled. */
  end(ending: Ending): void;
  /** Ends with {@link GOING_AWAY} as soon as nothing runs. May be called again. */
  drain(): void;
}

export interface Lifetimes extends AsyncDisposable {
  /** Watches over a socket until the answer is disposed, which is when the socket has closed. */
  watch(socket: LivingSocket): Disposable;
  /** A person was changed or removed, or one token of theirs was revoked. */
  credentialRevoked(revoked: { readonly principalId: string; readonly tokenId?: string | undefined }): void;
  /** One session, or all of a principal, ended before their time. */
  sessionRevoked(revoked: { readonly principalId: string; readonly sessionId?: string | undefined }): void;
  /** The bus was away. */
  missed(): void;
  count(): number;
}

export interface LifetimesOptions {
  /** Longest time that a stop waits for requests under way. */
  readonly drainMs: number;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

/** The longest delay that a timer can have. */
const TIMER_MS_MAX = 2_147_483_647;
/** How long sockets have to close at the end of a drain. */
const LAST_MS = 500;

export function createLifetimes({ drainMs, now }: LifetimesOptions): Lifetimes {
  const sockets = new Set<LivingSocket>();
  let isDraining = false;
  let emptied: (() => void) | undefined;

  const endAll = (ending: Ending, isMeant: (socket: LivingSocket) => boolean): void => {
    for (const socket of sockets) if (isMeant(socket)) socket.end(ending);
  };

  const untilEmpty = async (ms: number): Promise<void> => {
    if (sockets.size === 0) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    emptied = resolve;
    const timer = setTimeout(resolve, ms);
    await promise;
    clearTimeout(timer);
  };

  return {
    watch(socket) {
      sockets.add(socket);
      const expiry = whenExpired(socket.caller, now, () => socket.end(CREDENTIAL_EXPIRED));
      if (isDraining) socket.drain();
      return {
        [Symbol.dispose]() {
          expiry[Symbol.dispose]();
          sockets.delete(socket);
          if (sockets.size === 0) emptied?.();
        },
      };
    },
    credentialRevoked({ principalId, tokenId }) {
      endAll(CREDENTIAL_REVOKED, ({ caller: { principal } }) => {
        return principal.id === principalId && (tokenId === undefined || tokenId === principal.tokenId);
      });
    },
    sessionRevoked({ principalId, sessionId }) {
      endAll(SESSION_ENDED, ({ caller: { principal } }) => {
        if (principal.id !== principalId || principal.sessionId === undefined) return false;
        return sessionId === undefined || sessionId === principal.sessionId;
      });
    },
    missed: () => endAll(REVOCATION_MISSED, () => true),
    count: () => sockets.size,
    async [Symbol.asyncDispose]() {
      isDraining = true;
      for (const socket of sockets) socket.drain();
      await untilEmpty(drainMs);
      endAll(GOING_AWAY, () => true);
      await untilEmpty(LAST_MS);
    },
  };
}

function whenExpired({ principal: { expiresAt } }: Caller, now: () => number, expired: () => void): Disposable {
  if (expiresAt === 0) return { [Symbol.dispose]: () => {} };
  let timer: NodeJS.Timeout;
  const wait = (): void => {
    const left = expiresAt * 1_000 - now();
    if (left <= 0) return expired();
    timer = setTimeout(wait, Math.min(left, TIMER_MS_MAX));
  };
  timer = setTimeout(wait, 0);
  return { [Symbol.dispose]: () => clearTimeout(timer) };
}
