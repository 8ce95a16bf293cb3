/** One large result by every way out: as fast as what PostgreSQL itself has for it, and what memory it takes. */
import { spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { request } from 'node:http';
import { connect } from 'node:net';

import { residentBytesOf } from '../../harness/processes.ts';
import type { Mesh } from '../mesh.ts';
import { startMesh } from '../mesh.ts';
import { preparePgbench, target } from '../pgbench.ts';
import type { Part } from '../row.ts';

const MB = 1_000_000;
const MiB = 1_048_576;
const TIMES = 5;
const QUERY = `select aid, bid, abalance, filler from pgbench_accounts, generate_series(1, ${TIMES})`;
const SAMPLE_MS = 50;
/** Before what counts: code is compiled, the table is in memory. */
const WARM = `${QUERY} limit 500000`;

interface Taken {
  readonly seconds: number;
  readonly bytes: number;
}

async function copy(databaseUrl: string, query: string): Promise<Taken> {
  const { args, env } = target(databaseUrl);
  const begin = performance.now();
  const child = spawn('psql', [...args, '-qc', `copy (${query}) to stdout`], { env, stdio: ['ignore', 'pipe', 'inherit'] });
  let bytes = 0;
  child.stdout.on('data', (chunk: Buffer) => (bytes += chunk.length));
  await once(child.stdout, 'end');
  return { seconds: (performance.now() - begin) / 1_000, bytes };
}

async function overHttp(mesh: Mesh, query: string, accept: string): Promise<Taken> {
  const begin = performance.now();
  const headers = { 'content-type': 'application/json', authorization: `Bearer ${mesh.apiKey}`, accept };
  const sent = request(`${mesh.url}/api/sql`, { method: 'POST', headers });
  sent.end(JSON.stringify({ query }));
  const { promise, resolve, reject } = Promise.withResolvers<Taken>();
  sent.once('error', reject);
  sent.once('response', (response) => {
    let bytes = 0;
    let last = '';
    response.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      last = chunk.toString('latin1', Math.max(0, chunk.length - 64));
    });
    response.once('error', reject);
    response.once('end', () => {
      if (response.statusCode === 200 && !last.includes('"error"')) {
        return resolve({ seconds: (performance.now() - begin) / 1_000, bytes });
      }
      reject(new Error(`${response.statusCode} ${last}`));
    });
  });
  return promise;
}

const READY = '{"type":"ReadyForQuery"';

/** Counts what comes and looks into none of it: what a browser makes of frames is not what is measured. */
async function overSocket(mesh: Mesh, query: string): Promise<Taken> {
  const { host, hostname, port } = new URL(mesh.url);
  const socket = connect(Number(port), hostname);
  const key = createHash('sha1').update(randomBytes(16)).digest().subarray(0, 16).toString('base64');
  const head = ['GET /api/v1/sql HTTP/1.1', `host: ${host}`, 'connection: Upgrade', 'upgrade: websocket'];
  socket.write(`${[...head, 'sec-websocket-version: 13', `sec-websocket-key: ${key}`].join('\r\n')}\r\n\r\n`);
  let bytes = 0;
  let tail = '';
  let heard: (() => void) | undefined;
  socket.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
    tail = (tail + chunk.toString('latin1', Math.max(0, chunk.length - 256))).slice(-256);
    if (tail.includes(READY)) heard?.();
  });
  const ready = (): Promise<void> =>
    new Promise((resolve) => {
      tail = '';
      heard = resolve;
    });
  await once(socket, 'data');
  const start = ready();
  socket.write(maskedText(JSON.stringify({ token: mesh.apiKey })));
  await start;
  bytes = 0;
  const begin = performance.now();
  const end = ready();
  socket.write(maskedText(JSON.stringify({ query })));
  await end;
  socket.destroy();
  return { seconds: (performance.now() - begin) / 1_000, bytes };
}

function maskedText(text: string): Buffer {
  const payload = Buffer.from(text);
  const length = Buffer.alloc(2);
  length.writeUInt16BE(payload.length);
  const size = payload.length < 126 ? Buffer.from([0x80 | payload.length]) : Buffer.concat([Buffer.from([0xfe]), length]);
  // A mask of zeros leaves the payload as it is.
  return Buffer.concat([Buffer.from([0x81]), size, Buffer.alloc(4), payload]);
}

/** The most that edge and sql held above what they held before. */
async function watched<T>(mesh: Mesh, doing: () => Promise<T>): Promise<{ readonly result: T; readonly bytes: number }> {
  const pids = [...(mesh.pids['sql'] ?? []), ...(mesh.pids['edge'] ?? [])];
  const held = (): number => pids.reduce((sum, pid) => sum + residentBytesOf(pid), 0);
  const before = held();
  let most = before;
  const timer = setInterval(() => (most = Math.max(most, held())), SAMPLE_MS);
  try {
    return { result: await doing(), bytes: most - before };
  } finally {
    clearInterval(timer);
  }
}

export const benchStreams: Part = async (note) => {
  const path = 'ndjson';
  await using mesh = await startMesh(['edge', 'auth', 'session', 'sql']);
  await preparePgbench(mesh.databaseUrl);
  await copy(mesh.databaseUrl, WARM);
  const copied = await copy(mesh.databaseUrl, QUERY);
  const rows = TIMES * 1_000_000;
  const rate = (seconds: number): string =>
    `${Math.round(copied.bytes / MB / seconds)} MB/s of rows, ${Math.round(rows / 1_000 / seconds)}k rows/s`;
  note({
    path,
    what: `COPY TO STDOUT by psql, ${Math.round(copied.bytes / MB)} MB of ${rows / 1e6} million rows`,
    measured: rate(copied.seconds),
  });
  const ways: readonly (readonly [string, (query: string) => Promise<Taken>])[] = [
    ['NDJSON', (query) => overHttp(mesh, query, 'application/x-ndjson')],
    ['CSV', (query) => overHttp(mesh, query, 'text/csv')],
    ['JSON, as a whole when it is final', (query) => overHttp(mesh, query, 'application/json')],
    ['WebSocket, a message a row', (query) => overSocket(mesh, query)],
  ];
  for (const [what, take] of ways) {
    await take(WARM);
    const { result, bytes } = await watched(mesh, () => take(QUERY));
    note({
      path,
      what: `${what}, through the edge, against COPY`,
      measured: `${rate(result.seconds)}, ${Math.round(result.bytes / MB)} MB sent, ${Math.round(bytes / MiB)} MiB of memory above idle`,
      ratio: (copied.seconds / result.seconds).toFixed(2),
      bar: '≥ 0.7',
    });
  }
};
