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

type Options = Omit<ListenOptions, 'listener' | 'handle'>;

export async function openListeners(app: App, listeners: readonly Listener[], options: Options): Promise<OpenListeners> {
  const open: (readonly [string, OpenListener])[] = [];
  const close = async (): Promise<void> => {
    const closing = open.map(([, listener]) => listener.close());
    app.drain();
    await Promise.all(closing);
  };
  try {
    for (const listener of listeners) {
      let opened: OpenListener | undefined;
      const handle = app.entrance(listener, () => opened?.isDraining() === true);
      opened = await openListener({ ...options, listener, handle });
      open.push([listener.name, opened]);
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
