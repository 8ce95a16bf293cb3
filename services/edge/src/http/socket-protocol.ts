/** What the kinds of sockets have in common, and where they differ: in their first words, and in how they are refused. */
import { isFailure } from '@postern/contracts/failure';

import { CLOSE } from '../domain/frames.ts';
import type { Identity, Shown } from '../domain/identity.ts';
import type { ClientSocket } from './client-socket.ts';
import type { Exchange } from './exchange.ts';

/** The first words of a client, read as far as they say who it is. */
export interface Opening {
  readonly kind: 'opening';
  readonly shown: Shown;
  /** The name that was given, for the words of a refusal. */
  readonly user: string;
  /** Path and query that the service is asked for. */
  readonly target: string;
  /** Gives the connection away, with all that the service has to see first. */
  release(client: ClientSocket): Buffer;
}

export interface Refusal {
  readonly kind: 'refusal';
  /** Of the Close frame. */
  readonly code: number;
  readonly reason: string;
  readonly sqlState: string;
  /** What the like of it is over HTTP; for metrics and the log. */
  readonly status: number;
}

export interface SocketProtocol {
  readonly messageBytesMax: number;
  /** Undefined if nobody is to be identified: the socket is over, and was said so. */
  open(client: ClientSocket, exchange: Exchange): Promise<Opening | Refusal | undefined>;
  refuse(client: ClientSocket, refusal: Refusal, user: string): void;
}

const refusal = (code: number, reason: string, sqlState: string, status: number): Refusal => ({
  kind: 'refusal',
  code,
  reason,
  sqlState,
  status,
});

export const UNAUTHORIZED = refusal(CLOSE.protocol, 'unauthorized', '28P01', 401);
export const AWAY = refusal(CLOSE.tryAgain, 'a server that is needed is away; try again', '57P03', 503);
export const ENDED = refusal(CLOSE.revoked, 'the credentials have ended', '57P01', 401);
export const DRAINING = refusal(CLOSE.goingAway, 'the server is going away', '57P01', 503);

/** What was sent is not what the protocol has there. */
export const outOfProtocol = (reason: string, sqlState = '08P01', code: number = CLOSE.protocol): Refusal =>
  refusal(code, reason, sqlState, 400);

export function refusalOfIdentity(identity: Exclude<Identity, { kind: 'principal' }>): Refusal {
  if (identity.kind !== 'locked') return UNAUTHORIZED;
  const reason = `too many failed logins; try again in ${identity.retryAfterSeconds} s`;
  return refusal(CLOSE.tryAgain, reason, '28000', 429);
}

/** Of what was thrown while somebody was being identified; undefined for what nobody foresaw. */
export function refusalOfError(error: unknown): Refusal | undefined {
  if (!isFailure(error)) return undefined;
  // Somebody whom auth does not sign any more is nobody.
  if (error.code === 'ASSERTION_INVALID') return UNAUTHORIZED;
  return error.code === 'UNAVAILABLE' || error.code === 'TIMEOUT' ? AWAY : undefined;
}

export const BROKEN = refusal(CLOSE.internal, 'something failed here', 'XX000', 500);

const SQL_STATE = /^[0-9A-Z]{5}$/;

/** The service knows who it is, and has its own reason. */
export function refusalOfService(status: number, body: string): Refusal {
  const told = fieldsOf(body);
  const text = (name: string): string | undefined => {
    const value = told.get(name);
    return typeof value === 'string' && value !== '' ? value : undefined;
  };
  const reason = text('message') ?? text('detail') ?? text('title') ?? (told.size === 0 ? body.trim() : '');
  const code = text('code') ?? '';
  return refusal(
    status === 503 || status === 429 ? CLOSE.tryAgain : CLOSE.protocol,
    reason === '' ? `the service answered ${status}` : reason,
    SQL_STATE.test(code) ? code : '08004',
    status,
  );
}

function fieldsOf(body: string): ReadonlyMap<string, unknown> {
  try {
    const parsed: unknown = JSON.parse(body);
    return new Map(typeof parsed === 'object' && parsed !== null ? Object.entries(parsed) : []);
  } catch {
    return new Map();
  }
}
