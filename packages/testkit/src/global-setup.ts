/** vitest `globalSetup` of tests that meet servers: keeps the run's servers and tells each worker where they are. */
import { randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { z } from 'zod';
import type { TestProject } from 'vitest/node';

import { createSharedServers } from './internal/shared-servers.ts';
import { temporaryFolder } from './temporary-folder.ts';

declare module 'vitest' {
  interface ProvidedContext {
    /** Where a worker asks for a server. */
    testServersUrl: string;
  }
}

const Question = z.object({ server: z.enum(['postgres', 'redis', 'nats']), worker: z.coerce.number().int().positive() });

export async function setup(project: TestProject): Promise<() => Promise<void>> {
  const scope = new AsyncDisposableStack();
  const folder = scope.use(await temporaryFolder());
  const servers = scope.use(createSharedServers({ folder: folder.path, workers: Math.max(1, project.config.maxWorkers) }));
  await servers.prepare();
  // Answers hold passwords: only who was told the path may ask.
  const path = `/${randomBytes(16).toString('hex')}`;
  const desk = createServer((request, response) => {
    const url = new URL(request.url ?? '/', 'http://desk');
    const question = Question.safeParse(Object.fromEntries(url.searchParams));
    if (url.pathname !== path || !question.success) return void response.writeHead(404).end();
    servers.ask(question.data.server, question.data.worker).then(
      (address) => void response.end(JSON.stringify(address)),
      (error: unknown) => void response.writeHead(500).end(error instanceof Error ? error.message : String(error)),
    );
  });
  const listening = Promise.withResolvers<void>();
  desk.listen(0, '127.0.0.1', listening.resolve);
  await listening.promise;
  scope.defer(() => {
    desk.close();
    desk.closeAllConnections();
  });
  project.provide('testServersUrl', `http://127.0.0.1:${(desk.address() as AddressInfo).port}${path}`);
  return () => scope.disposeAsync();
}
