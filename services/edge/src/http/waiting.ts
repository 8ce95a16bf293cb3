/** How many sockets may be open whose clients have not yet said who they are: of a listener, and of one client. */
import type { Entrance } from './exchange.ts';

export interface WaitingLimits {
  readonly perListener: number;
  readonly perClient: number;
}

export type Admission =
  | { readonly kind: 'admitted'; leave(): void }
  | { readonly kind: 'full'; readonly of: 'listener' | 'client' };

export function createWaiting(limits: WaitingLimits): (entrance: Entrance, client: string) => Admission {
  const byEntrance = new WeakMap<Entrance, { total: number; readonly byClient: Map<string, number> }>();
  return (entrance, client) => {
    const counts = byEntrance.get(entrance) ?? { total: 0, byClient: new Map<string, number>() };
    byEntrance.set(entrance, counts);
    const { byClient } = counts;
    if (counts.total >= limits.perListener) return { kind: 'full', of: 'listener' };
    if ((byClient.get(client) ?? 0) >= limits.perClient) return { kind: 'full', of: 'client' };
    counts.total += 1;
    byClient.set(client, (byClient.get(client) ?? 0) + 1);
    let isIn = true;
    return {
      kind: 'admitted',
      leave() {
        if (!isIn) return;
        isIn = false;
        counts.total -= 1;
        const left = (byClient.get(client) ?? 1) - 1;
        if (left === 0) byClient.delete(client);
        else byClient.set(client, left);
      },
    };
  };
}
