/** The bus's configuration, and each service's creds in the folder of that service's secrets. */
import { ServiceName } from '@postern/contracts/mesh';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

import type { BusAddress } from './nats.ts';
import { setUpNats } from './nats.ts';
import { writeSecret } from './secret-files.ts';

export const ownCredsFile = (secretsFolder: string, service: ServiceName): string => join(secretsFolder, service, 'nats.creds');

/** Keys that can make any user stay in the folder `nats`, which no service is given. */
export async function setUpBus(secretsFolder: string, address?: BusAddress): Promise<{ readonly configFile: string }> {
  const { configFile, credsFiles } = await setUpNats(join(secretsFolder, 'nats'), address);
  for (const service of ServiceName.options) {
    await writeSecret(ownCredsFile(secretsFolder, service), (await readFile(credsFiles[service], 'utf8')).trimEnd());
  }
  return { configFile };
}
