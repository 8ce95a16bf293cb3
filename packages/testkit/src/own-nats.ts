import { startNats } from '@postern/deploy/servers/nats';
import type { NatsServer } from '@postern/deploy/servers/nats';
import { setUpNats } from '@postern/deploy/setup/nats';

import type { TestNats } from './bus-test.ts';
import { temporaryFolder } from './temporary-folder.ts';

export interface OwnNats extends TestNats, AsyncDisposable {
  readonly configFile: string;
  stop(): Promise<void>;
  /** Does the set-up again, as a later start does. */
  setUpAgain(): Promise<void>;
  /** Starts it again where it was, with the configuration as it is now. */
  start(): Promise<void>;
}

/** A bus that a test has for itself, to stop and start; it is a child process also where Docker is. */
export async function startOwnNats(): Promise<OwnNats> {
  const scope = new AsyncDisposableStack();
  const folder = scope.use(await temporaryFolder());
  const { configFile, credsFiles } = await setUpNats(folder.path);
  let server: NatsServer | undefined = await startNats({ configFile });
  const { port, url } = server;
  const stop = async (): Promise<void> => {
    await server?.stop();
    server = undefined;
  };
  scope.defer(stop);
  return {
    url,
    configFile,
    credsFile: (user) => credsFiles[user],
    stop,
    async setUpAgain() {
      await setUpNats(folder.path);
    },
    async start() {
      server ??= await startNats({ configFile, port });
    },
    [Symbol.asyncDispose]: () => scope.disposeAsync(),
  };
}
