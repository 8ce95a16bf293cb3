/** The bus in operator mode: who may connect, and the allow-list of each, generated from the contracts. */
import { decode, encodeAccount, encodeOperator, encodeUser, fmtCreds } from '@nats-io/jwt';
import type { User } from '@nats-io/jwt';
import type { KeyPair } from '@nats-io/nkeys';
import { createAccount, createOperator, createUser, fromSeed } from '@nats-io/nkeys';
import { allServices, busPermissions } from '@postern/contracts/all';
import type { BusPermissions } from '@postern/contracts/all';
import type { ServiceName } from '@postern/contracts/mesh';
import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { z } from 'zod';

import { keepSecret, writeSecret } from './secret-files.ts';

/** Who has creds: the services, and a person or program that asks which services there are. */
export type BusUser = ServiceName | 'observer';

/** The seeds that everything on the bus is signed with. Whoever has them may make any user. */
export const BusKeys = z.object({ operator: z.string(), system: z.string(), account: z.string() });
export type BusKeys = z.output<typeof BusKeys>;

export interface BusAddress {
  /** 127.0.0.1 unless the server is in a network of its own, as a container is. */
  readonly host?: string | undefined;
  readonly port?: number | undefined;
  /** Of the health endpoint, which asks for no creds and so is on 127.0.0.1 only; none if absent. */
  readonly monitorPort?: number | undefined;
}

export interface BusFiles {
  readonly configFile: string;
  readonly credsFiles: Readonly<Record<BusUser, string>>;
}

/** The largest message; `packages/rpc` keeps calls below it. */
const MAX_PAYLOAD_BYTES = 1_048_576;
/** A reply may be sent once, and only so long after its question. */
const ANSWER = { max: 1, ttl: 60 * 1e9 };
const UNLIMITED = { subs: -1, data: -1, payload: -1, imports: -1, exports: -1, wildcards: true, conn: -1, leaf: 0 };

const busUsers = [...(Object.keys(allServices) as ServiceName[]), 'observer'] as const;

/**
 * Writes the server's configuration, and the creds of each user in a folder of their own, below `folder`. Repeating it changes nothing, unless the
 * contracts have changed: then all creds are made anew, and the former ones are revoked.
 */
export async function setUpNats(folder: string, address: BusAddress = {}): Promise<BusFiles> {
  const files: BusFiles = {
    configFile: join(folder, 'nats', 'nats-server.conf'),
    credsFiles: mapUsers((user) => join(folder, user, 'nats.creds')),
  };
  // In a folder of its own: the server needs the public halves only.
  const kept = await keepSecret(join(folder, 'operator', 'nats-keys.json'), () => JSON.stringify(createBusKeys()));
  const keys = BusKeys.parse(JSON.parse(kept));
  const { operator, account } = (await inForce(files, keys)) ?? (await issueAnew(files, keys));
  const config = natsConfig(operator, { [publicKey(keys.account)]: account }, address);
  await mkdir(dirname(files.configFile), { recursive: true });
  await writeFile(files.configFile, config);
  // It holds no secret, and a server in a container reads it as another user.
  await chmod(files.configFile, 0o644);
  return files;
}

export const createBusKeys = (): BusKeys => ({
  operator: seedOf(createOperator()),
  system: seedOf(createAccount()),
  account: seedOf(createAccount()),
});

export interface IssuedAccount {
  readonly jwt: string;
  readonly creds: Readonly<Record<BusUser, Uint8Array>>;
}

/** A platform account with fresh users; whatever was issued for it before is revoked. */
export async function issueAccount(keys: BusKeys, name: string): Promise<IssuedAccount> {
  const account = keyPair(keys.account);
  const issuedAt = Math.floor(Date.now() / 1_000);
  const claims = { limits: UNLIMITED, revocations: { '*': issuedAt - 1 } };
  const jwt = await encodeAccount(name, account, claims, { signer: keyPair(keys.operator) });
  const creds = await Promise.all(
    busUsers.map(async (user) => {
      const pair = createUser();
      return [user, fmtCreds(await encodeUser(user, pair, account, userClaims(user)), pair)] as const;
    }),
  );
  return { jwt, creds: Object.fromEntries(creds) as Record<BusUser, Uint8Array> };
}

export interface IssuedOperator {
  readonly jwt: string;
  readonly systemAccount: string;
  readonly systemJwt: string;
}

export async function issueOperator(keys: BusKeys): Promise<IssuedOperator> {
  const operator = keyPair(keys.operator);
  const systemAccount = publicKey(keys.system);
  return {
    jwt: await encodeOperator('postern', operator, { system_account: systemAccount }),
    systemAccount,
    systemJwt: await encodeAccount('SYS', keyPair(keys.system), { limits: UNLIMITED }, { signer: operator }),
  };
}

/** Understood by nats-server 2.9 and later. No WebSocket, no leaf nodes, no MQTT, no user without creds. */
export function natsConfig(operator: IssuedOperator, accounts: Readonly<Record<string, string>>, address: BusAddress): string {
  const { host = '127.0.0.1', port = 4_222, monitorPort } = address;
  const preload = Object.entries({ [operator.systemAccount]: operator.systemJwt, ...accounts });
  return [
    `host: ${JSON.stringify(host)}`,
    `port: ${port}`,
    ...(monitorPort === undefined ? [] : [`http: "127.0.0.1:${monitorPort}"`]),
    `operator: ${operator.jwt}`,
    `system_account: ${operator.systemAccount}`,
    'resolver: MEMORY',
    'resolver_preload: {',
    ...preload.map(([id, jwt]) => `  ${id}: ${jwt}`),
    '}',
    `max_payload: ${MAX_PAYLOAD_BYTES}`,
    'max_connections: 4096',
    'write_deadline: "5s"',
    // A member of a queue group that has stopped answering gets no more calls after some seconds.
    'ping_interval: "2s"',
    'ping_max: 2',
    '',
  ].join('\n');
}

export const publicKey = (seed: string): string => keyPair(seed).getPublicKey();

interface Issued {
  readonly operator: IssuedOperator;
  readonly account: string;
}

/** What an earlier set-up issued, if its users may still do exactly what the contracts say. */
async function inForce(files: BusFiles, keys: BusKeys): Promise<Issued | undefined> {
  try {
    const config = await readFile(files.configFile, 'utf8');
    const jwtOf = (key: string): string => new RegExp(`^ *${key}: (\\S+)$`, 'm').exec(config)?.[1] ?? '';
    for (const user of busUsers) {
      const creds = await readFile(files.credsFiles[user], 'utf8');
      const { iss, nats } = decode<User>(/BEGIN NATS USER JWT-+\n(\S+)/.exec(creds)?.[1] ?? '');
      if (iss !== publicKey(keys.account) || !allows(nats, userClaims(user))) return undefined;
    }
    const systemAccount = publicKey(keys.system);
    const operator = { jwt: jwtOf('operator'), systemAccount, systemJwt: jwtOf(systemAccount) };
    const account = jwtOf(publicKey(keys.account));
    const signed = [operator.jwt, operator.systemJwt, account].every((jwt) => decode(jwt).iss === publicKey(keys.operator));
    return signed ? { operator, account } : undefined;
  } catch {
    return undefined;
  }
}

const allows = (found: Partial<User>, wanted: Partial<User>): boolean =>
  isDeepStrictEqual(found.pub, wanted.pub) &&
  isDeepStrictEqual(found.sub, wanted.sub) &&
  isDeepStrictEqual(found.resp, wanted.resp);

async function issueAnew(files: BusFiles, keys: BusKeys): Promise<Issued> {
  const operator = await issueOperator(keys);
  const { jwt, creds } = await issueAccount(keys, 'POSTERN');
  const decoder = new TextDecoder();
  for (const user of busUsers) await writeSecret(files.credsFiles[user], decoder.decode(creds[user]));
  return { operator, account: jwt };
}

function userClaims(user: BusUser): Partial<User> {
  const { publish, subscribe } = permissionsOf(user);
  return {
    pub: { allow: [...publish] },
    sub: { allow: [...subscribe] },
    ...(user !== 'observer' && { resp: ANSWER }),
    subs: 1_024,
    data: -1,
    payload: MAX_PAYLOAD_BYTES,
    allowed_connection_types: ['STANDARD'],
  };
}

/** An observer asks the discovery protocol who is there (`nats micro ls`) and hears nothing else. */
const permissionsOf = (user: BusUser): BusPermissions =>
  user === 'observer' ? { publish: ['$SRV.>'], subscribe: ['_INBOX.>'] } : busPermissions(user);

const keyPair = (seed: string): KeyPair => fromSeed(new TextEncoder().encode(seed));
const seedOf = (pair: KeyPair): string => new TextDecoder().decode(pair.getSeed());

const mapUsers = <T>(make: (user: BusUser) => T): Record<BusUser, T> =>
  Object.fromEntries(busUsers.map((user) => [user, make(user)])) as Record<BusUser, T>;
