/** `/`: what this is, which build, and what this listener offers. */
import type { RequestHandler } from 'express';
import { createHash } from 'node:crypto';

import type { Listener } from '../../domain/listeners.ts';
import { isOn } from '../../domain/routes.ts';
import type { Route } from '../../domain/routes.ts';
import { send } from '../answers.ts';
import { exchangeOf } from '../exchange.ts';

export interface Build {
  readonly version: string;
  readonly sha: string;
  readonly time: string;
}

/** What the page says about a route; one that is not named here is not shown. */
const WORDS: Readonly<Record<string, string>> = {
  '/api/sql': 'Run SQL as your own database role',
  '/api/sql/subscribe': 'Changes of a query or table as they happen, as Server-Sent Events',
  '/api/sql/statements': 'Statements that outlive their request',
  '/api/v1/sql': 'SQL over WebSocket',
  '/v2': "PostgreSQL's protocol over WebSocket, as Neon's driver speaks it",
  '/sql': "Neon's driver over HTTP",
  '/api/openapi.json': 'This interface as OpenAPI 3.1',
  '/api/people': 'People and their roles',
  '/api/keys': 'API keys',
  '/api/me': 'Who you are here',
  '/api/sessions': 'Your browser sessions, on every device',
  '/api/login': 'Log in and get a cookie',
  '/api/logout': 'End the session of the cookie',
  '/metrics': 'Metrics in the Prometheus text format',
  '/api/livez': 'Whether the door is alive',
  '/api/readyz': 'Whether SQL can be served',
};

const STYLE = `
:root { color-scheme: light dark; --ink: #1d2430; --soft: #5b6675; --line: #dfe3e8; --paper: #fff; --accent: #0b6e4f; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ee; --soft: #9aa5b4; --line: #2c3440; --paper: #14181f; --accent: #5fd3a8; } }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 44rem; margin: 0 auto; padding: 4rem 1.5rem; }
h1 { margin: 0; font-size: 2rem; letter-spacing: -0.02em; }
h2 { margin: 2.5rem 0 0.5rem; font-size: 1rem; color: var(--soft); font-weight: 600; }
p { margin: 0.5rem 0; color: var(--soft); }
ul { list-style: none; margin: 0; padding: 0; border-top: 1px solid var(--line); }
li { display: grid; grid-template-columns: 4rem minmax(10rem, 1fr) 2fr; gap: 1rem; padding: 0.6rem 0; border-bottom: 1px solid var(--line); }
code { font: 0.875rem/1.7 ui-monospace, monospace; }
a { color: var(--accent); }
li span { color: var(--soft); }
footer { margin-top: 3rem; font-size: 0.875rem; color: var(--soft); }
@media (max-width: 36rem) { li { grid-template-columns: 4rem 1fr; } li span { grid-column: 2; } }
`;

const STYLE_HASH = createHash('sha256').update(STYLE).digest('base64');

const SECURITY = [
  ['content-type', 'text/html; charset=utf-8'],
  [
    'content-security-policy',
    `default-src 'none'; style-src 'sha256-${STYLE_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`,
  ],
  ['cross-origin-opener-policy', 'same-origin'],
  ['cross-origin-resource-policy', 'same-origin'],
  ['referrer-policy', 'no-referrer'],
  ['x-frame-options', 'DENY'],
  ['cache-control', 'no-store'],
] as const;

export function createHome(table: readonly Route[], build: Build): RequestHandler {
  return (request) => {
    const exchange = exchangeOf(request);
    send(exchange, { status: 200, headers: SECURITY, body: page(table, exchange.entrance.listener, build) });
  };
}

const escapeHtml = (raw: string): string =>
  raw.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');

function page(table: readonly Route[], listener: Listener, { version, sha, time }: Build): string {
  const rows = table.filter((route) => isOn(route, listener) && Object.hasOwn(WORDS, route.path)).map(row);
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Postern</title>
<style>${STYLE}</style>
</head>
<body>
<main>
<h1>Postern</h1>
<p>One guarded door to Postgres. You are at listener <code>${escapeHtml(listener.name)}</code>.</p>
<h2>Open here</h2>
<ul>
${rows.join('\n')}
</ul>
<footer>version ${escapeHtml(version)} · built ${escapeHtml(time)} · ${escapeHtml(sha)}</footer>
</main>
</body>
</html>
`;
}

function row({ path, methods, socket }: Route): string {
  const shown = `<code>${escapeHtml(path)}</code>`;
  const link = methods.includes('GET') && socket === undefined ? `<a href="${escapeHtml(path)}">${shown}</a>` : shown;
  return `<li><code>${socket === undefined ? (methods[0] ?? '') : 'WS'}</code><div>${link}</div><span>${escapeHtml(WORDS[path] ?? '')}</span></li>`;
}
