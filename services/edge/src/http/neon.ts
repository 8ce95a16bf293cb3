/** What Neon's driver shows of itself over HTTP. */
import { Failure } from '@postern/contracts/failure';

import { readConnectionString } from '../domain/connection-string.ts';
import type { Exchange } from './exchange.ts';

/** Credentials and database of the connection string, which goes no further. A bearer token beside it says who it is. */
export function readNeon(exchange: Exchange): void {
  const { head, shown } = exchange;
  const text = head.get('neon-connection-string');
  if (text === undefined) throw badConnectionString('is missing');
  const read = readConnectionString(text);
  if (read === undefined) throw badConnectionString('is not a connection string');
  const { user, password, database } = read;
  exchange.connection = { user, database };
  const { credentials } = shown;
  if (user === '' && credentials.kind !== 'bearer') throw badConnectionString('is not a connection string');
  const own = { kind: 'basic', user, password, mayBeToken: true } as const;
  exchange.shown = { ...shown, credentials: credentials.kind === 'bearer' ? credentials : own };
}

const badConnectionString = (what: string): Failure =>
  new Failure('HEADER_MALFORMED', { detail: `the header Neon-Connection-String ${what}` });
