/** Starts the one mesh of a run, two replicas of each service; or takes the compose stack that runs, with E2E_COMPOSE=1. */
import { temporaryFolder } from '@postern/testkit/temporary-folder';
import type { TestProject } from 'vitest/node';

import { describeComposeMesh } from './compose-mesh.ts';
import { superuserUrl } from './local-mesh.ts';
import { startSupervisor } from './supervisor.ts';

export async function setup(project: TestProject): Promise<() => Promise<void>> {
  if (process.env['E2E_COMPOSE'] === '1') {
    project.provide('mesh', await describeComposeMesh());
    return async () => {};
  }
  const folder = await temporaryFolder();
  const options = ['--json', '--port', '0', '--data', folder.path, '--replicas', 'edge=2,auth=2,session=2,sql=2'];
  const supervisor = startSupervisor(options);
  const stop = async (): Promise<void> => {
    await supervisor[Symbol.asyncDispose]();
    await folder[Symbol.asyncDispose]();
  };
  try {
    const { listeners, admin, apiKey, databaseUrl: ownerUrl } = await supervisor.ready;
    const edges = Object.entries(listeners).flatMap(([name, url]) => (/^external(-\d+)?$/.test(name) ? [url] : []));
    const databaseUrl = await superuserUrl(ownerUrl, folder.path);
    project.provide('mesh', { kind: 'local', edges, admin, apiKey, databaseUrl, folder: folder.path });
    return stop;
  } catch (error) {
    await stop();
    throw error;
  }
}
