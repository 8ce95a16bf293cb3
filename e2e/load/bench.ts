/**
 * `npm run bench`: the ratios of docs/benchmarks.md, each against a peer in the same run on the same machine.
 * `-- --write` puts the table into the page; `-- --seconds N` sets the length of one measurement.
 */
import type { ChildProcess } from 'node:child_process';
import { execFile, fork } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { cpus } from 'node:os';
import { promisify, parseArgs } from 'node:util';

import { announceCanary, startMesh } from './mesh.ts';
import { startAuthRequestProxy, startUpstream } from './peers/nginx.ts';
import { pgbench, preparePgbench } from './pgbench.ts';
import type { Measured } from './wrk.ts';
import { wrk } from './wrk.ts';

const run = promisify(execFile);
const { values: options } = parseArgs({ options: { write: { type: 'boolean' }, seconds: { type: 'string', default: '8' } } });
const seconds = Number(options.seconds);

interface Row {
  readonly path: string;
  readonly what: string;
  readonly measured: string;
  readonly ratio?: string;
  readonly bar?: string;
}

const rows: Row[] = [];
const note = (row: Row): void => {
  rows.push(row);
  process.stderr.write(`${row.path} · ${row.what}: ${row.measured} ${row.ratio ?? ''}\n`);
};
const shown = ({ requestsPerSecond, p50Ms, p99Ms, failures }: Measured): string =>
  `${Math.round(requestsPerSecond)}/s, p50 ${p50Ms.toFixed(2)} ms, p99 ${p99Ms.toFixed(2)} ms${failures > 0 ? `, ${failures} failed` : ''}`;

const SELECT_ONE = JSON.stringify({ query: 'select 1' });

async function pin(pids: readonly number[], core: number): Promise<void> {
  for (const pid of pids) await run('taskset', ['-a', '-p', '-c', String(core), String(pid)]);
}

async function startPeer(
  file: string,
  env: Readonly<Record<string, string>>,
  core?: number,
): Promise<ChildProcess & { readonly url: string }> {
  const child = fork(new URL(`peers/${file}`, import.meta.url), { env: { ...process.env, ...env } });
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  child.once('message', (message: { port: number }) => resolve(message.port));
  child.once('exit', () => reject(new Error(`${file} ended`)));
  const port = await promise;
  if (core !== undefined && child.pid !== undefined) await pin([child.pid], core);
  return Object.assign(child, { url: `http://127.0.0.1:${port}` });
}

/** The proxy alone on core 0; load, upstream and everything else on core 1. */
async function benchEdge(): Promise<void> {
  const path = 'edge';
  await using upstream = await startUpstream(1);
  await using judge = await startUpstream(1);
  const load = { method: 'POST', bodyLua: JSON.stringify(SELECT_ONE), seconds, core: 1 } as const;
  const headers = { 'content-type': 'application/json' };

  let nginx: Measured;
  {
    await using proxy = await startAuthRequestProxy(0, upstream.url, judge.url);
    nginx = await wrk({ ...load, url: `${proxy.url}/api/sql`, headers, connections: 64 });
  }
  note({ path, what: 'nginx + auth_request', measured: shown(nginx) });

  const plain = await startPeer('plain-proxy.ts', { UPSTREAM_URL: upstream.url }, 0);
  const plainMeasured = await wrk({ ...load, url: `${plain.url}/api/sql`, headers, connections: 64 });
  const plainOne = await wrk({ ...load, url: `${plain.url}/api/sql`, headers, connections: 1 });
  plain.kill('SIGTERM');
  note({ path, what: 'plain http-proxy-middleware on Express', measured: shown(plainMeasured) });

  await using mesh = await startMesh(['edge', 'auth', 'session']);
  await using _canary = await announceCanary(mesh, upstream.url);
  await pin(mesh.pids['edge'] ?? [], 0);
  await pin([...(mesh.pids['auth'] ?? []), ...(mesh.pids['session'] ?? [])], 1);
  const url = `${mesh.url}/api/sql`;
  const authorized = { ...headers, authorization: `Bearer ${mesh.apiKey}` };
  const measured = await wrk({ ...load, url, headers: authorized, connections: 64 });
  note({
    path,
    what: 'edge, API key, against nginx',
    measured: shown(measured),
    ratio: (measured.requestsPerSecond / nginx.requestsPerSecond).toFixed(2),
    bar: '≥ 0.5',
  });
  note({
    path,
    what: 'edge, API key, against plain http-proxy-middleware',
    measured: shown(measured),
    ratio: (measured.requestsPerSecond / plainMeasured.requestsPerSecond).toFixed(2),
    bar: '≥ 2.5',
  });
  const one = await wrk({ ...load, url, headers: authorized, connections: 1 });
  note({
    path,
    what: 'one connection: p50 of the edge minus p50 of the plain proxy',
    measured: `${one.p50Ms.toFixed(3)} ms − ${plainOne.p50Ms.toFixed(3)} ms`,
    ratio: `${(one.p50Ms - plainOne.p50Ms).toFixed(3)} ms`,
    bar: '< 0.15 ms',
  });
}

/** Everything on both cores, as a laptop would run it. */
async function benchSql(): Promise<void> {
  const path = '/api/sql';
  const connections = 16;
  await using mesh = await startMesh(['edge', 'auth', 'session', 'sql']);
  await preparePgbench(mesh.databaseUrl);
  const tps = await pgbench(mesh.databaseUrl, connections, seconds);
  note({ path, what: `pgbench -S, prepared, ${connections} connections`, measured: `${Math.round(tps)}/s` });

  const select = 'select abalance from pgbench_accounts where aid = $1';
  const accountLua = (before: string, after: string): string =>
    `${JSON.stringify(before)} .. math.random(1, 1000000) .. ${JSON.stringify(after)}`;
  const naive = await startPeer('naive-sql.ts', { DATABASE_URL: mesh.databaseUrl, POOL_MAX: String(connections) });
  const naiveMeasured = await wrk({
    url: naive.url,
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    bodyLua: accountLua(`{"query":${JSON.stringify(select)},"params":["`, '"]}'),
    connections,
    seconds,
  });
  naive.kill('SIGTERM');
  note({ path, what: 'naive node:http + pg, no identity', measured: shown(naiveMeasured) });

  const measured = await wrk({
    url: `${mesh.url}/api/sql`,
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${mesh.apiKey}` },
    bodyLua: accountLua(`{"queries":[{"query":${JSON.stringify(select)},"params":["`, '"]}]}'),
    connections,
    seconds,
  });
  note({
    path,
    what: 'through the edge, API key, against pgbench',
    measured: shown(measured),
    ratio: (measured.requestsPerSecond / tps).toFixed(2),
    bar: '≥ 0.35',
  });
  note({
    path,
    what: 'through the edge, API key, against the naive server',
    measured: shown(measured),
    ratio: (measured.requestsPerSecond / naiveMeasured.requestsPerSecond).toFixed(2),
    bar: '≥ 2',
  });
}

await benchEdge();
await benchSql();

const { stdout: commit } = await run('git', ['rev-parse', '--short', 'HEAD']);
const table = [
  `Measured ${new Date().toISOString().slice(0, 10)} at commit ${commit.trim()} on ${cpus().length} cores of ${cpus()[0]?.model ?? 'an unnamed processor'}, Node ${process.version}, ${seconds} s each.`,
  '',
  '| path | what | measured | ratio | bar |',
  '|---|---|---|---|---|',
  ...rows.map(({ path, what, measured, ratio, bar }) => `| ${path} | ${what} | ${measured} | ${ratio ?? ''} | ${bar ?? ''} |`),
].join('\n');
process.stdout.write(`${table}\n`);
if (options.write === true) {
  const page = new URL('../../docs/benchmarks.md', import.meta.url);
  const text = await readFile(page, 'utf8');
  await writeFile(page, text.replace(/(<!-- table -->\n)[^]*(<!-- \/table -->)/, `$1\n${table}\n\n$2`));
}
