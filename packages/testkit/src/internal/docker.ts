import { request } from 'node:http';
import { getContainerRuntimeClient } from 'testcontainers';

/** Whether there is a Docker engine for testcontainers; one that DOCKER_HOST names but that is away means no. */
export async function dockerAnswers(): Promise<boolean> {
  const named = process.env['DOCKER_HOST'];
  if (named !== undefined && named !== '' && !(await pings(named))) return false;
  return getContainerRuntimeClient().then(
    () => true,
    () => false,
  );
}

async function pings(host: string): Promise<boolean> {
  const url = URL.parse(host);
  if (url === null) return false;
  // Over TLS the engine asks for a certificate; testcontainers knows where that is.
  if (url.protocol === 'https:' || process.env['DOCKER_TLS_VERIFY'] === '1') return true;
  const where = url.protocol === 'unix:' ? { socketPath: url.pathname } : { host: url.hostname, port: url.port || 2_375 };
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const ping = request({ ...where, path: '/_ping', timeout: 5_000 }, (response) => {
    response.resume();
    resolve(response.statusCode === 200);
  });
  ping.once('timeout', () => ping.destroy());
  ping.once('error', () => resolve(false));
  ping.end();
  return promise;
}
