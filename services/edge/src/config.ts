import { setting } from '@postern/service-kit/config';
import type { Refine } from '@postern/service-kit/config';
import { sharedSettings } from '@postern/service-kit/settings';
import { readFileSync } from 'node:fs';
import { createSecureContext } from 'node:tls';
import { z } from 'zod';

import type { ParsedListeners } from './domain/listeners.ts';
import { isIssuer, parseListeners } from './domain/listeners.ts';
import type { KeyPair } from './domain/ports.ts';
import { shippedListeners } from './domain/shipped-listeners.ts';

const count = z.coerce.number().int().positive();

const list = z.string().transform((text) =>
  text
    .split(',')
    .map((entry) => entry.trim())
    .filter((entry) => entry !== ''),
);

const ORIGIN = /^(?:\*|\*\.[a-z0-9.-]+|[a-z][a-z0-9+.-]*:\/\/[^/\s,]+)$/i;

const audiences = z.string().transform((text, context) => {
  try {
    return z.array(z.string().min(1)).parse(JSON.parse(text));
  } catch {
    context.addIssue('must be a JSON array of strings');
    return z.NEVER;
  }
});

export const settings = {
  ...sharedSettings,
  listenersFile: setting('EDGE_LISTENERS_FILE', z.string().optional(), 'The listener document (JSON); the shipped one if unset'),
  portsFile: setting(
    'EDGE_PORTS_FILE',
    z.string().optional(),
    'Where to write the addresses that were taken, as one line of JSON, once all listeners listen',
  ),
  oidcIssuer: setting(
    'EDGE_OIDC_ISSUER',
    z.string().refine(isIssuer, 'must be an http or https URL without user, query or fragment').optional(),
    'External issuer whose tokens listeners of kind Oidc accept',
  ),
  oidcAudience: setting(
    'EDGE_OIDC_AUDIENCE',
    audiences.default([]),
    'JSON array of accepted audiences; empty leaves the audience unchecked',
  ),
  oidcAuthenticationClaim: setting(
    'EDGE_OIDC_AUTHENTICATION_CLAIM',
    z.string().default('sub'),
    "Claim that holds the person's name",
  ),
  oidcGroupClaim: setting('EDGE_OIDC_GROUP_CLAIM', z.string().default('groups'), "Claim that holds the person's groups"),
  corsOrigins: setting(
    'EDGE_CORS_ORIGINS',
    list
      .refine((entries) => entries.every((entry) => ORIGIN.test(entry)), 'must be *, *.domain or origins, separated by commas')
      .default([]),
    'Origins whose pages may use the API: exact, *.example.com or *',
  ),
  tlsCertFile: setting(
    'EDGE_TLS_CERT_FILE',
    z.string().optional(),
    'Certificate chain (PEM) of listeners with TLS; read again when it changes',
  ),
  tlsKeyFile: setting('EDGE_TLS_KEY_FILE', z.string().optional(), 'Private key (PEM) of listeners with TLS'),
  connectionsMax: setting('EDGE_CONNECTIONS_MAX', count.default(10_000), 'Connections per listener; one more is refused'),
  upstreamConnectionsMax: setting(
    'EDGE_UPSTREAM_CONNECTIONS_MAX',
    count.default(256),
    'Connections to one replica; further requests wait',
  ),
  socketsWaitingMax: setting(
    'EDGE_SOCKETS_WAITING_MAX',
    count.default(2_000),
    'Sockets per listener whose clients have not yet said who they are; one more is refused',
  ),
  socketsWaitingPerClientMax: setting('EDGE_SOCKETS_WAITING_PER_CLIENT_MAX', count.default(256), 'The like per client address'),
  headMs: setting('EDGE_HEAD_TIMEOUT_MS', count.default(10_000), 'Longest time for the head of a request to arrive'),
  requestMs: setting(
    'EDGE_REQUEST_TIMEOUT_MS',
    count.default(120_000),
    'Longest time for a request to arrive with its body; the answer may take longer',
  ),
  drainNoticeMs: setting(
    'EDGE_DRAIN_NOTICE_MS',
    z.coerce.number().int().nonnegative().default(500),
    'How long a stop still takes requests while it tells clients to go elsewhere',
  ),
  buildSha: setting('EDGE_BUILD_SHA', z.string().default('unknown'), 'Commit shown on the home page'),
  buildTime: setting('EDGE_BUILD_TIME', z.string().default('unknown'), 'Time of the build shown on the home page'),
};

/** The document of that file, or the shipped one; all its mistakes, if it has any. */
export function readListeners(file: string | undefined): ParsedListeners {
  if (file === undefined) return parseListeners(shippedListeners);
  try {
    return parseListeners(JSON.parse(readFileSync(file, 'utf8')));
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? `cannot be read (${String(error.code)})` : 'is not JSON';
    return { kind: 'mistakes', mistakes: [{ pointer: '', message: code }] };
  }
}

const Package = z.object({ version: z.string() });

/** Of this package; shown on the home page. */
export const readVersion = (): string =>
  Package.parse(JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'))).version;

interface KeyPairFiles {
  readonly tlsCertFile?: string | undefined;
  readonly tlsKeyFile?: string | undefined;
}

/** Reads the pair, if one is named, and proves that it is one; throws if not. */
export function keyPairOf({ tlsCertFile, tlsKeyFile }: KeyPairFiles): KeyPair | undefined {
  if (tlsCertFile === undefined || tlsKeyFile === undefined) return undefined;
  const pair = { cert: readFileSync(tlsCertFile, 'utf8'), key: readFileSync(tlsKeyFile, 'utf8') };
  createSecureContext(pair);
  return pair;
}

export const refine: Refine<typeof settings> = ({ listenersFile, tlsCertFile, tlsKeyFile, headMs, requestMs }) => {
  const mistakes: string[] = [];
  if (headMs !== undefined && requestMs !== undefined && headMs > requestMs)
    mistakes.push('EDGE_HEAD_TIMEOUT_MS: must not be longer than EDGE_REQUEST_TIMEOUT_MS');
  const parsed = readListeners(listenersFile);
  if (parsed.kind === 'mistakes') {
    mistakes.push(...parsed.mistakes.map(({ pointer, message }) => `EDGE_LISTENERS_FILE ${pointer || '/'}: ${message}`));
  }
  if (tlsCertFile === undefined || tlsKeyFile === undefined) {
    if (tlsCertFile !== tlsKeyFile) mistakes.push('EDGE_TLS_CERT_FILE, EDGE_TLS_KEY_FILE: set both or neither');
    const secure = parsed.kind === 'listeners' ? parsed.listeners.filter(({ tls }) => tls) : [];
    for (const { name } of secure) {
      mistakes.push(`EDGE_LISTENERS_FILE /http/${name}/enable_tls: needs EDGE_TLS_CERT_FILE and EDGE_TLS_KEY_FILE`);
    }
    return mistakes;
  }
  try {
    keyPairOf({ tlsCertFile, tlsKeyFile });
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown';
    mistakes.push(`EDGE_TLS_CERT_FILE, EDGE_TLS_KEY_FILE: are not a certificate and its key (${code})`);
  }
  return mistakes;
};
