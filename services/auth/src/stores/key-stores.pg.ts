/** The root key and the signing keys, sealed, in schema `auth`. */
import { z } from 'zod';

import type { RootRow, RootStore, SigningKeyRow, SigningKeyStore } from '../domain/ports.ts';
import type { Database } from './database.pg.ts';

const Root = z.object({ id: z.string(), sealed: z.string() });

export const createPgRootStore = (database: Database): RootStore => ({
  async readOrInsert(deadline, made): Promise<RootRow> {
    await database.query(deadline, 'INSERT INTO auth.roots (id, sealed) VALUES ($1, $2) ON CONFLICT DO NOTHING', [
      made.id,
      made.sealed,
    ]);
    const [row] = await database.query(deadline, 'SELECT id, sealed FROM auth.roots');
    return Root.parse(row);
  },
  async replace(deadline, { id, sealed }) {
    await database.query(deadline, 'UPDATE auth.roots SET sealed = $2 WHERE id = $1', [id, sealed]);
  },
});

const LOCK = 0x6175_7468;

const SigningKey = z.object({
  kid: z.string(),
  ordinal: z.number(),
  x: z.string(),
  sealedPrivateKey: z.string(),
  signsFrom: z.date().transform((date) => date.getTime()),
});

export const createPgSigningKeyStore = (database: Database): SigningKeyStore => ({
  exclusively: (deadline, work) =>
    database.transact(deadline, async (query) => {
      await query('SELECT pg_advisory_xact_lock($1, 4)', [LOCK]);
      return work({
        async list(): Promise<SigningKeyRow[]> {
          const rows = await query(
            `SELECT kid, ordinal, x, sealed_private_key AS "sealedPrivateKey", signs_from AS "signsFrom"
             FROM auth.signing_keys ORDER BY ordinal`,
          );
          return rows.map((row) => SigningKey.parse(row));
        },
        async insert({ kid, ordinal, x, sealedPrivateKey, signsFrom }) {
          await query(
            'INSERT INTO auth.signing_keys (kid, ordinal, x, sealed_private_key, signs_from) VALUES ($1, $2, $3, $4, $5)',
            [kid, ordinal, x, sealedPrivateKey, new Date(signsFrom)],
          );
        },
        async reschedule(kid, signsFrom) {
          await query('UPDATE auth.signing_keys SET signs_from = $2 WHERE kid = $1', [kid, new Date(signsFrom)]);
        },
        async remove(kid) {
          await query('DELETE FROM auth.signing_keys WHERE kid = $1', [kid]);
        },
      });
    }),
});
