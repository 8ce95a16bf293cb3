/** Ports of this machine that nobody listens on. */
import { randomInt } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';

/** Whether a port can be listened on now. Only a taken one counts as taken: other troubles are for the listener to tell. */
export async function isFree(port: number, host: string): Promise<boolean> {
  const probe = createServer();
  const { promise, resolve } = Promise.withResolvers<boolean>();
  probe.once('error', (error) => resolve(!('code' in error) || error.code !== 'EADDRINUSE'));
  probe.listen({ port, host, exclusive: true }, () => probe.close(() => resolve(true)));
  return promise;
}

export interface PortRange {
  readonly lowest: number;
  readonly highest: number;
}

/** What the stack is published on, by `docker-compose.yml` and by `.ci/run`, and the internal listener of `npm start`. */
const PUBLISHED = [6_876, 6_877, 6_878, 26_876, 26_877];
/** Where there are enough outside of what the system gives, they are from the first of these. */
const WANTED: readonly PortRange[] = [
  { lowest: 15_000, highest: 31_999 },
  { lowest: 1_024, highest: 65_535 },
];
/** With fewer to choose from, two that choose at a time would often choose the same. */
const ENOUGH = 1_000;

const isWithin = (port: number, { lowest, highest }: PortRange): boolean => port >= lowest && port <= highest;

function portsOf({ lowest, highest }: PortRange): number[] {
  const all = Array.from({ length: highest - lowest + 1 }, (_, index) => lowest + index);
  return all.filter((port) => !PUBLISHED.includes(port));
}

/** The ports to choose from; where the system gives nearly all of them to others, also of those. */
export function portsBeside(given: PortRange): readonly number[] {
  for (const wanted of WANTED) {
    const ports = portsOf(wanted).filter((port) => !isWithin(port, given));
    if (ports.length >= ENOUGH) return ports;
  }
  return WANTED.slice(0, 1).flatMap(portsOf);
}

/** What this system gives to connections that go out, and to whoever listens on any port. */
export function givenBySystem(): PortRange {
  try {
    const [lowest, highest] = readFileSync('/proc/sys/net/ipv4/ip_local_port_range', 'utf8').trim().split(/\s+/).map(Number);
    if (lowest !== undefined && highest !== undefined) return { lowest, highest };
  } catch {
    // Not Linux, or not shown here.
  }
  // An assumption, of which the default of Linux and that of macOS and Windows, from 49,152, are part.
  return { lowest: 32_768, highest: 65_535 };
}

let choice: readonly number[] | undefined;

/** A port that is free, and that nobody is given who does not ask for this one: it may be listened on later. */
export async function freePort(): Promise<number> {
  choice ??= portsBeside(givenBySystem());
  for (;;) {
    const port = choice[randomInt(choice.length)];
    if (port !== undefined && (await isFree(port, '127.0.0.1'))) return port;
  }
}
