import { z } from 'zod';

/** What `npm start -- --json` prints. */
export const Ready = z.strictObject({
  event: z.literal('ready'),
  listeners: z.record(z.string(), z.url()),
  admin: z.strictObject({ user: z.string(), password: z.string() }),
  apiKey: z.string(),
  databaseUrl: z.string(),
  natsUrl: z.string(),
  redisUrl: z.string(),
  pids: z.record(z.string(), z.array(z.number())),
});
export type Ready = z.output<typeof Ready>;

interface Described {
  /** The public origin of each edge replica. */
  readonly edges: readonly string[];
  readonly admin: { readonly user: string; readonly password: string };
  readonly apiKey: string;
  readonly databaseUrl: string;
}

/** The mesh that all scenarios of a run share, as data, for the test workers. */
export type MeshDescription =
  | (Described & { readonly kind: 'local'; readonly folder: string })
  | (Described & { readonly kind: 'compose' });
