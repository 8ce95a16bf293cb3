/** Sessions of people's logins whose bytes go through as they are. */
import type { Duplex } from 'node:stream';

import type { Lease } from '../domain/lending.ts';
import type { WireListener, WireSession, WireSessions } from '../domain/neon-tunnel.ts';
import type { Connection } from './connection.pg.ts';
import { ABANDONED_GRACE_MS } from './connection.pg.ts';
import type { Sessions } from './sessions.pg.ts';

export function createWireSessions(sessions: Pick<Sessions, 'hold'>): WireSessions {
  return {
    async open(caller, settings, giveUp) {
      const held = await sessions.hold(caller, giveUp, settings);
      return held.kind === 'refused' ? held : { kind: 'open', session: new Wired(held.lease) };
    },
  };
}

class Wired implements WireSession {
  readonly #connection: Connection;
  readonly #lease: Lease<Connection>;
  readonly #stream: Duplex;
  #isEnded = false;

  constructor(lease: Lease<Connection>) {
    this.#lease = lease;
    this.#connection = lease.connection;
    this.#stream = lease.connection.takeOver();
    this.#stream.pause();
  }

  get processId(): number {
    return this.#connection.processId;
  }

  get parameters(): ReadonlyMap<string, string> {
    return this.#connection.parameters;
  }

  listen(listener: WireListener): void {
    const stream = this.#stream;
    stream.on('data', (bytes: Buffer) => listener.data(bytes));
    stream.on('drain', () => listener.drained());
    stream.once('close', () => listener.closed());
    if (stream.destroyed) listener.closed();
    else stream.resume();
  }

  write(bytes: Buffer): boolean {
    return this.#stream.destroyed || this.#stream.write(bytes);
  }

  pause(): void {
    this.#stream.pause();
  }

  resume(): void {
    this.#stream.resume();
  }

  async cancel(): Promise<void> {
    await this.#connection.cancel();
  }

  end(isBusy: boolean): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    // What it still says is for nobody, but the server must be able to say it.
    this.#stream.resume();
    void this.#end(isBusy);
  }

  async #end(isBusy: boolean): Promise<void> {
    const connection = this.#connection;
    if (isBusy && connection.isOpen) {
      const closed = Promise.withResolvers<void>();
      this.#stream.once('close', closed.resolve);
      const late = setTimeout(() => void connection.terminate(), ABANDONED_GRACE_MS);
      await connection.cancel();
      // The server reads no further while it works: it sees that its client has gone when the statement has ended.
      this.#stream.end();
      await closed.promise;
      clearTimeout(late);
    }
    this.#lease.giveBack(Promise.resolve(false));
  }
}
