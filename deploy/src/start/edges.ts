/** The edge's replicas: each its own listener document and, once it listens, the ports it took. */
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';

import { isFree } from '../servers/free-port.ts';
import { listenerAddresses, listenerName, moveListeners } from './listeners.ts';
import { EXIT_CONFIG, StartMistake } from './start-mistake.ts';

/** What the edge writes to EDGE_PORTS_FILE: the address of each listener. */
const Addresses = z.record(z.string(), z.url());

export interface EdgeFiles {
  readonly replica: number;
  readonly listenersFile: string;
  readonly portsFile: string;
}

interface EdgesOptions {
  readonly runFolder: string;
  readonly replicas: number;
  /** The document that was given; the shipped one if absent. */
  readonly listenersFile: string | undefined;
  /** Of the shipped document's external listener; 0 for free ones. */
  readonly port: number;
  readonly ephemeral: boolean;
}

const WRITTEN_MS = 10_000;
const POLL_MS = 20;
const SHIPPED = new URL('../../listeners.json', import.meta.url);

/** Writes the document of each replica. The first takes the ports that are asked for, the others free ones. */
export async function prepareEdges(options: EdgesOptions): Promise<readonly EdgeFiles[]> {
  const given = await readDocument(options);
  const files: EdgeFiles[] = [];
  for (let replica = 1; replica <= options.replicas; replica += 1) {
    const listenersFile = join(options.runFolder, `edge-${replica}-listeners.json`);
    const portsFile = join(options.runFolder, `edge-${replica}-ports.json`);
    const text = replica === 1 ? await firstDocument(given, options) : moveListeners(given, () => 0);
    await writeFile(listenersFile, text, { mode: 0o600 });
    await rm(portsFile, { force: true });
    files.push({ replica, listenersFile, portsFile });
  }
  return files;
}

/** The addresses of a replica that listens. From now on it keeps its ports, also when it is started again. */
export async function settleEdge({ replica, listenersFile, portsFile }: EdgeFiles): Promise<Readonly<Record<string, string>>> {
  const addresses = Addresses.parse(JSON.parse(await readWhenWritten(portsFile)));
  const document = await readFile(listenersFile, 'utf8');
  const settled = moveListeners(document, (name, wanted) => Number(URL.parse(addresses[name] ?? '')?.port) || wanted);
  await writeFile(listenersFile, settled, { mode: 0o600 });
  return Object.fromEntries(Object.entries(addresses).map(([name, address]) => [listenerName(name, replica), address]));
}

/** An edge is ready before its doors are open; the file is there whole or not at all. */
async function readWhenWritten(file: string): Promise<string> {
  const deadline = performance.now() + WRITTEN_MS;
  for (;;) {
    try {
      return await readFile(file, 'utf8');
    } catch (error) {
      if (performance.now() > deadline) throw error;
      await delay(POLL_MS);
    }
  }
}

async function readDocument({ listenersFile, port }: EdgesOptions): Promise<string> {
  if (listenersFile === undefined) {
    const shipped = await readFile(SHIPPED, 'utf8');
    return moveListeners(shipped, (name) => (port === 0 ? 0 : name === 'external' ? port : port + 2));
  }
  try {
    return await readFile(listenersFile, 'utf8');
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown';
    throw new StartMistake(`--listeners: ${listenersFile} cannot be read (${code})`, EXIT_CONFIG);
  }
}

/** An occupied port is told before anything is started; an ephemeral mesh takes a free one instead. */
async function firstDocument(given: string, { ephemeral }: EdgesOptions): Promise<string> {
  const taken = new Set<string>();
  for (const { name, host, port } of listenerAddresses(given)) {
    if (port !== 0 && !(await isFree(port, host.replace(/^\[|\]$/g, '')))) taken.add(name);
  }
  if (taken.size === 0) return given;
  if (ephemeral) return moveListeners(given, (name, wanted) => (taken.has(name) ? 0 : wanted));
  const words = listenerAddresses(given)
    .filter(({ name }) => taken.has(name))
    .map(({ name, host, port }) => `  ${host}:${port} (listener ${name})`);
  throw new StartMistake(
    `in use by another program:\n${words.join('\n')}\nStop it, or choose other ports with --port or --listeners.`,
    EXIT_CONFIG,
  );
}
