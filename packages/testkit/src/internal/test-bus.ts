/** A bus for tests: one account per worker, so that files that run side by side never hear each other. */
import { createBusKeys, issueAccount, issueOperator, natsConfig, publicKey } from '@postern/deploy/setup/nats';
import type { BusAddress, BusKeys } from '@postern/deploy/setup/nats';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

export interface TestBus {
  readonly config: string;
  readonly credsDirs: readonly string[];
}

export async function makeTestBus(folder: string, accounts: number, address: BusAddress): Promise<TestBus> {
  const shared = createBusKeys();
  const preload: Record<string, string> = {};
  const credsDirs: string[] = [];
  for (let index = 1; index <= accounts; index += 1) {
    const keys: BusKeys = { ...shared, account: createBusKeys().account };
    const { jwt, creds } = await issueAccount(keys, `TEST-${index}`);
    preload[publicKey(keys.account)] = jwt;
    const credsDir = join(folder, `account-${index}`);
    await mkdir(credsDir, { recursive: true });
    for (const [user, text] of Object.entries(creds)) {
      await writeFile(join(credsDir, `${user}.creds`), text, { mode: 0o600 });
    }
    credsDirs.push(credsDir);
  }
  return { config: natsConfig(await issueOperator(shared), preload, address), credsDirs };
}
