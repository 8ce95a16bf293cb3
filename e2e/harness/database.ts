/** The database itself, past every door: to set things up, and to see what is so. */
import pg from 'pg';

import type { Mesh } from './mesh.ts';

/** Runs SQL as a superuser and answers its rows, or those of the last of several statements. */
export async function query<Row extends object>(mesh: Mesh, text: string, values?: readonly unknown[]): Promise<readonly Row[]> {
  const client = new pg.Client({ connectionString: mesh.databaseUrl, application_name: 'e2e' });
  // A connection that is lost is told to whoever waits for an answer.
  client.on('error', () => {});
  await client.connect();
  try {
    const answer = await (values === undefined ? client.query(text) : client.query(text, [...values]));
    const results = Array.isArray(answer) ? (answer as pg.QueryResult[]) : [answer];
    return (results.at(-1)?.rows ?? []) as Row[];
  } finally {
    await client.end();
  }
}

/** The statements of a person that the database is at work on. */
export const running = async (mesh: Mesh, name: string): Promise<readonly string[]> =>
  (
    await query<{ query: string }>(mesh, "select query from pg_stat_activity where usename = $1 and state = 'active'", [name])
  ).map((row) => row.query);

/** The connection string that a driver is given: the edge in the place of the server, who it is in the place of the login. */
export function doorUrl(mesh: Mesh, user: string, secret: string, origin: string = mesh.edges[0]): string {
  const { host } = new URL(origin);
  return `postgresql://${encodeURIComponent(user)}:${encodeURIComponent(secret)}@${host}/app`;
}
