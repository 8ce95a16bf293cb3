import { announceCanary, startMesh } from '../mesh.ts';
import { pin, startPeer } from '../peer.ts';
import { startAuthRequestProxy, startUpstream } from '../peers/nginx.ts';
import type { Part } from '../row.ts';
import { shown } from '../row.ts';
import type { Measured } from '../wrk.ts';
import { wrk } from '../wrk.ts';

const SELECT_ONE = JSON.stringify({ query: 'select 1' });

/** The proxy alone on core 0; load, upstream and everything else on core 1. */
export const benchEdge: Part = async (note, seconds) => {
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
};
