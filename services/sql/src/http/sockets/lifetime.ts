/** How long sockets may live: what was proved when they were opened may end before they do, and so may this process. */
import type { Principal } from '@postern/contracts/common';
import { Failure } from '@postern/contracts/failure';

import type { Occupation } from '../../domain/inspections.ts';
import type { IsRevoked, RevokedCredential, RevokedSession } from '../../domain/revocation.ts';
import { ofCredential, ofSession } from '../../domain/revocation.ts';

/** Of the WebSocket close. */
export const CloseCode = {
  normal: 1000,
  goingAway: 1001,
  protocolError: 1002,
  unsupportedData: 1003,
  policyViolation: 1008,
  tooBig: 1009,
  internalError: 1011,
  /** The client may come again at once. */
  serviceRestart: 1012,
  /** The client may come again later. */
  tryAgain: 1013,
  unauthorized: 4401,
} as const;

const REVOKED = 'the credential was revoked';
const EXPIRED = 'the credential has expired';
const SESSION_ENDED = 'the session has ended';
const MAY_BE_REVOKED = 'a revocation may have been missed';
export const STOPPING = 'the service is going away';

/** The payload of a ping by which the edge, which passes frames on unread, asks for what {@link LiveSocket.drain} does. */
export const DRAIN_PING = Buffer.from('postern-drain');

/** Sockets of one principal: one whose session has ended may stay until its client says something. */
export const SOCKETS_MAX = 1_000;

/** How long the peer has to answer a Close. */
export const END_GRACE_MS = 1_000;

export interface LiveSocket {
  readonly principal: Principal;
  /** Ends now: what runs is canceled. */
  end(code: number, reason: string): void;
  /** Ends as soon as nothing runs, with {@link CloseCode.goingAway}. May be called again. */
  drain(): void;
}

export interface Lifetimes extends AsyncDisposable {
  /** Throws if no more of this principal may be opened. */
  requireRoom(principal: Principal): void;
  /** Watches over a socket until the answer is called, when the socket has closed. */
  add(socket: LiveSocket): () => void;
  credentialRevoked(revoked: RevokedCredential): void;
  sessionRevoked(revoked: RevokedSession): void;
  /** The bus was away. */
  missed(): void;
  count(): number;
  census(): readonly Occupation[];
}

export interface LifetimesOptions {
  /** Longest time that a stop waits for requests under way. */
  readonly drainMs: number;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

/** The longest delay that a timer can have. */
const TIMER_MS_MAX = 2_147_483_647;

export function createLifetimes({ drainMs, now }: LifetimesOptions): Lifetimes {
  const sockets = new Set<LiveSocket>();
  const openedAt = new WeakMap<LiveSocket, number>();
  /** Sockets by their principals' ids. */
  const counts = new Map<string, number>();
  let isDraining = false;
  let emptied: (() => void) | undefined;

  const endAll = (code: number, reason: string, isMeant: IsRevoked): void => {
    for (const socket of sockets) if (isMeant(socket.principal)) socket.end(code, reason);
  };

  const count = ({ id }: Principal, by: number): void => {
    const counted = (counts.get(id) ?? 0) + by;
    if (counted === 0) counts.delete(id);
    else counts.set(id, counted);
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
    requireRoom({ id }) {
      if ((counts.get(id) ?? 0) < SOCKETS_MAX) return;
      throw new Failure('SQL_SOCKETS_LIMIT', { detail: `${SOCKETS_MAX} sockets of yours are open here` });
    },
    add(socket) {
      sockets.add(socket);
      count(socket.principal, 1);
      openedAt.set(socket, now());
      const stopWaiting = whenExpired(socket.principal, now, () => socket.end(CloseCode.unauthorized, EXPIRED));
      if (isDraining) socket.drain();
      return () => {
        stopWaiting();
        if (sockets.delete(socket)) count(socket.principal, -1);
        if (sockets.size === 0) emptied?.();
      };
    },
    credentialRevoked: (revoked) => endAll(CloseCode.unauthorized, REVOKED, ofCredential(revoked)),
    sessionRevoked: (revoked) => endAll(CloseCode.unauthorized, SESSION_ENDED, ofSession(revoked)),
    missed: () => endAll(CloseCode.serviceRestart, MAY_BE_REVOKED, () => true),
    count: () => sockets.size,
    census: () =>
      [...sockets].map((socket) => ({
        principalId: socket.principal.id,
        role: socket.principal.dbRole,
        forMs: now() - (openedAt.get(socket) ?? now()),
      })),
    async [Symbol.asyncDispose]() {
      isDraining = true;
      for (const socket of sockets) socket.drain();
      await untilEmpty(drainMs);
      endAll(CloseCode.goingAway, STOPPING, () => true);
      await untilEmpty(END_GRACE_MS);
    },
  };
}

/** Answers how to stop waiting. */
function whenExpired({ expiresAt }: Principal, now: () => number, expired: () => void): () => void {
  if (expiresAt === 0) return () => {};
  const wait = (): NodeJS.Timeout | undefined => {
    const left = expiresAt * 1_000 - now();
    if (left > 0) return setTimeout(() => (timer = wait()), Math.min(left, TIMER_MS_MAX));
    expired();
    return undefined;
  };
  // The first look is not within the call: the socket may not be open yet.
  let timer: NodeJS.Timeout | undefined = setTimeout(() => (timer = wait()), 0);
  return () => clearTimeout(timer);
}
