import { startMesh } from '../mesh.ts';
import { startPeer } from '../peer.ts';
import { pgbench, preparePgbench } from '../pgbench.ts';
import type { Part } from '../row.ts';
import { shown } from '../row.ts';
import { wrk } from '../wrk.ts';

/** Everything on both cores, as a laptop would run it. */
export const benchSql: Part = async (note, seconds) => {
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
};
