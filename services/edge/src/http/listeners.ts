/** All public addresses of this replica, opened together and closed together. */
import type { App } from '../app.ts';
import type { Listener } from '../domain/listeners.ts';
import type { KeyPair } from '../domain/ports.ts';
import type { ListenOptions, OpenListener } from './listen.ts';
import { openListener } from './listen.ts';

export interface OpenListeners extends AsyncDisposable {
  /** `http://host:port` by name of the listener. */
  readonly origins: Readonly<Record<string, string>>;
  renew(keyPair: KeyPair): void;
}

type Options = Omit<ListenOptions, 'listener' | 'handlerOf'>;

export async function openListeners(app: App, listeners: readonly Listener[], options: Options): Promise<OpenListeners> {
  const open: (readonly [string, OpenListener])[] = [];
  const close = async (): Promise<void> => {
    const closing = open.map(([, listener]) => listener.close());
    app.drain();
    await Promise.all(closing);
  };
  try {
    for (const listener of listeners) {
      open.push([
        listener.name,
        await openListener({ ...options, listener, handlerOf: (state) => app.entrance(listener, state) }),
      ]);
    }
  } catch (error) {
    await close();
    throw error;
  }
  return {
    origins: Object.fromEntries(open.map(([name, { origin }]) => [name, origin])),
    renew: (keyPair) => open.forEach(([, listener]) => listener.renew(keyPair)),
    [Symbol.asyncDispose]: close,
  };
}
