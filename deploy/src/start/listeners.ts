/** The listener document each edge replica gets: the shipped or the given one, on ports of its own. */
import { z } from 'zod';

/** Only what is needed to move a listener; the edge itself judges the document. */
const Movable = z.looseObject({
  http: z.record(z.string(), z.looseObject({ addr: z.string() })),
});

/** Which port a listener of that name, whose document says `wanted`, is to take. */
export type ChoosePort = (name: string, wanted: number) => number;

/** A document with other ports. One that is not understood stays as it is, for the edge to report all its mistakes. */
export function moveListeners(text: string, choose: ChoosePort): string {
  const document = Movable.safeParse(parseJson(text));
  if (!document.success) return text;
  const moved = Object.entries(document.data.http).map(([name, listener]) => {
    const colon = listener.addr.lastIndexOf(':');
    const wanted = Number(listener.addr.slice(colon + 1));
    if (colon === -1 || !Number.isInteger(wanted)) return [name, listener] as const;
    return [name, { ...listener, addr: `${listener.addr.slice(0, colon)}:${choose(name, wanted)}` }] as const;
  });
  return `${JSON.stringify({ ...document.data, http: Object.fromEntries(moved) }, null, 2)}\n`;
}

export interface ListenerAddress {
  readonly name: string;
  readonly host: string;
  readonly port: number;
}

/** Where a document's listeners listen; nothing for one that is not understood. */
export function listenerAddresses(text: string): readonly ListenerAddress[] {
  const document = Movable.safeParse(parseJson(text));
  return Object.entries(document.data?.http ?? {}).flatMap(([name, { addr }]) => {
    const colon = addr.lastIndexOf(':');
    const port = Number(addr.slice(colon + 1));
    return colon === -1 || !Number.isInteger(port) || port < 0 || port > 65_535
      ? []
      : [{ name, host: addr.slice(0, colon), port }];
  });
}

/** The name a listener of the edge's n-th replica is reported by. */
export const listenerName = (name: string, replica: number): string => (replica === 1 ? name : `${name}-${replica}`);

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
