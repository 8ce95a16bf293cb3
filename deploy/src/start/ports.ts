/** Ports on this machine: whether one is free, and which ones a mesh had before. */
import { readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { z } from 'zod';

const Ports = z.record(z.string(), z.number());

/** Whether a port can be listened on now. Only a taken one counts as taken: other troubles are for the listener to tell. */
export async function isFree(port: number, host: string): Promise<boolean> {
  const probe = createServer();
  const { promise, resolve } = Promise.withResolvers<boolean>();
  probe.once('error', (error) => resolve(!('code' in error) || error.code !== 'EADDRINUSE'));
  probe.listen({ port, host, exclusive: true }, () => probe.close(() => resolve(true)));
  return promise;
}

/** The ports of the last start, so that addresses that people noted stay true; an occupied one is left out. */
export async function readFreePorts(file: string): Promise<Readonly<Record<string, number>>> {
  try {
    const ports = Ports.parse(JSON.parse(await readFile(file, 'utf8')));
    const free = await Promise.all(Object.values(ports).map((port) => isFree(port, '127.0.0.1')));
    return Object.fromEntries(Object.entries(ports).filter((_, index) => free[index] === true));
  } catch {
    return {};
  }
}

export const writePorts = (file: string, ports: Readonly<Record<string, number | undefined>>): Promise<void> =>
  writeFile(file, JSON.stringify(ports), { mode: 0o600 });
