/** Which ports a mesh had before. */
import { readFile, writeFile } from 'node:fs/promises';
import { z } from 'zod';

import { isFree } from '../servers/free-port.ts';

const Ports = z.record(z.string(), z.number());

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
