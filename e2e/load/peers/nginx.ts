/** Peers from the system's package `nginx`: a fast upstream, and a proxy with `auth_request` in front of it. */
import { spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface Nginx extends AsyncDisposable {
  readonly url: string;
}

const freePort = async (): Promise<number> => {
  const server = createServer();
  const { promise, resolve } = Promise.withResolvers<void>();
  server.listen(0, '127.0.0.1', resolve);
  await promise;
  const { port } = server.address() as AddressInfo;
  const closed = Promise.withResolvers<void>();
  server.close(() => closed.resolve());
  await closed.promise;
  return port;
};

const ANSWER = '{"results":[{"tag":"SELECT 1","rows":[["1"]],"desc":{"columns":[]},"notices":[]}]}';

/** A server that answers every request with a small constant. */
export const startUpstream = (core: number): Promise<Nginx> =>
  startNginx(
    core,
    (port) => `server { listen 127.0.0.1:${port}; location / { default_type application/json; return 200 '${ANSWER}'; } }`,
  );

/** A proxy that asks `authUrl` about every request, over keep-alive connections, as nginx users run it. */
export const startAuthRequestProxy = (core: number, upstreamUrl: string, authUrl: string): Promise<Nginx> =>
  startNginx(
    core,
    (port) => `
      upstream target { server ${new URL(upstreamUrl).host}; keepalive 64; }
      upstream judge { server ${new URL(authUrl).host}; keepalive 64; }
      server {
        listen 127.0.0.1:${port};
        location / {
          auth_request /judge;
          proxy_pass http://target;
          proxy_http_version 1.1;
          proxy_set_header Connection "";
        }
        location = /judge {
          internal;
          proxy_pass http://judge;
          proxy_pass_request_body off;
          proxy_set_header Content-Length "";
          proxy_http_version 1.1;
          proxy_set_header Connection "";
        }
      }`,
  );

async function startNginx(core: number, servers: (port: number) => string): Promise<Nginx> {
  const folder = await mkdtemp(join(tmpdir(), 'postern-nginx-'));
  const port = await freePort();
  const config = `
    daemon off; master_process off; pid ${folder}/pid; error_log ${folder}/error.log;
    events { worker_connections 2048; }
    http {
      access_log off; keepalive_requests 1000000; client_body_temp_path ${folder}/body; proxy_temp_path ${folder}/proxy;
      fastcgi_temp_path ${folder}/f; uwsgi_temp_path ${folder}/u; scgi_temp_path ${folder}/s;
      ${servers(port)}
    }`;
  const file = join(folder, 'nginx.conf');
  await writeFile(file, config);
  const child = spawn('taskset', ['-c', String(core), 'nginx', '-c', file, '-e', join(folder, 'error.log')], {
    stdio: 'inherit',
  });
  const url = `http://127.0.0.1:${port}`;
  await answering(url);
  return {
    url,
    async [Symbol.asyncDispose]() {
      const exited = new Promise((resolve) => child.once('exit', resolve));
      child.kill('SIGTERM');
      await exited;
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Resolves at the first answer; a server that never answers fails the run after a few seconds of trying. */
async function answering(url: string): Promise<void> {
  const deadline = performance.now() + 5_000;
  for (;;) {
    try {
      await fetch(url);
      return;
    } catch (error) {
      if (performance.now() > deadline) throw error;
      await new Promise((resolve) => void setImmediate(resolve));
    }
  }
}
