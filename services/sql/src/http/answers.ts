/** What this door answers, as schemas: published in the OpenAPI document, and held against real answers by tests. */
import { z } from 'zod';

export const SqlError = z.strictObject({
  message: z.string(),
  code: z.string().describe('SQLSTATE'),
  detail: z.string().optional().describe('Of a statement whose estimate is over a limit: its plan, as EXPLAIN told it'),
  hint: z.string().optional(),
  position: z.int().min(1).optional().describe('In characters, from 1'),
});

export const Notice = z.strictObject({
  message: z.string(),
  code: z.string(),
  severity: z.string().describe('error, warning, notice, info, log or debug'),
  detail: z.string().optional(),
  hint: z.string().optional(),
});

const Parameters = z.array(z.strictObject({ name: z.string(), value: z.string() }));

export const Columns = z.strictObject({
  columns: z.array(z.strictObject({ name: z.string(), type_oid: z.int(), type_len: z.int(), type_mod: z.int() })),
});

/** A value by its type: see services/sql/README.md. */
const Row = z.array(z.unknown());

export const SqlEntry = z.union([
  z
    .strictObject({ tag: z.string().regex(/^SELECT \d+$/), rows: z.array(Row), desc: Columns, notices: z.array(Notice) })
    .describe('The statement succeeded, and has rows'),
  z
    .strictObject({ ok: z.string(), notices: z.array(Notice), parameters: Parameters.optional() })
    .describe('The statement succeeded, and has none'),
  z.strictObject({ error: SqlError, notices: z.array(Notice) }).describe('The statement failed; nothing after it was run'),
]);

export const SqlAnswer = z.strictObject({ results: z.array(SqlEntry) });

/** One line of `application/x-ndjson`. */
export const SqlLine = z.union([
  Columns.describe('Rows follow'),
  Row.describe('A row'),
  z.strictObject({ tag: z.string() }).describe('The rows are all there'),
  z.strictObject({ ok: z.string(), parameters: Parameters.optional() }).describe('A statement without rows'),
  z.strictObject({ parameters: Parameters }).describe('Settings that the server told of later'),
  z.strictObject({ notice: Notice }),
  z.strictObject({ status: z.literal('ok') }).describe('The last line: all is there, and committed'),
  z
    .strictObject({ status: z.literal('rolled back') })
    .describe('The last line: all is there, but a transaction was left open, and what it did has been undone'),
  z.strictObject({ error: SqlError }).describe('The last line: no more can come'),
]);

export const SqlStatement = z.strictObject({
  id: z.string(),
  status: z.enum(['running', 'succeeded', 'failed', 'canceled']),
  createdAt: z.iso.datetime(),
  endedAt: z.iso.datetime().optional(),
  expiresAt: z.iso.datetime(),
  error: SqlError.optional(),
  results: z.strictObject({ entries: z.int(), rows: z.int(), bytes: z.int() }).optional(),
});

export const SqlStatements = z.strictObject({ statements: z.array(SqlStatement) });

/** Entries with their number as `entry`; a part of rows says with `row` where it begins, and has the tag of the whole. */
export const SqlPage = z.strictObject({
  results: z.array(z.record(z.string(), z.unknown())),
  next: z.string().optional().describe('For `page`; absent on the last page'),
});

const Field = z.strictObject({
  name: z.string(),
  tableID: z.int(),
  columnID: z.int(),
  dataTypeID: z.int(),
  dataTypeSize: z.int(),
  dataTypeModifier: z.int(),
  format: z.string(),
});

export const NeonResult = z.looseObject({
  command: z.string().nullable(),
  rowCount: z.int().nullable(),
  fields: z.array(Field),
  rows: z.array(z.union([z.array(z.unknown()), z.record(z.string(), z.unknown())])),
});
export const NeonResults = z.looseObject({ results: z.array(NeonResult) });

const Told = z.string().nullable();
export const NeonError = z.strictObject({
  message: z.string(),
  code: Told,
  detail: Told,
  hint: Told,
  position: Told,
  internalPosition: Told,
  internalQuery: Told,
  severity: Told,
  where: Told,
  table: Told,
  column: Told,
  schema: Told,
  dataType: Told,
  constraint: Told,
  file: Told,
  line: Told,
  routine: Told,
});

export const Check = z.union([
  z.literal('').describe('All fits'),
  z.strictObject({ err: z.array(z.strictObject({ kind: z.string(), object: z.string(), message: z.string() })) }),
]);

const Acl = z
  .array(
    z.strictObject({
      grantee: z.string().nullable().describe('null is PUBLIC'),
      grantor: z.string(),
      privilege: z.string(),
      grantable: z.boolean(),
    }),
  )
  .nullable()
  .describe('null is what the owner begins with');
const Named = z.looseObject({ name: z.string() });
const Owned = Named.extend({ owner: z.string() });
const InSchema = Owned.extend({ schema: z.string(), extension: z.string().nullable().optional(), acl: Acl.optional() });
const Defined = z.looseObject({ name: z.string(), definition: z.string() });
const Column = Named.extend({
  number: z.int(),
  type: z.string(),
  notNull: z.boolean(),
  default: z.string().nullable(),
  acl: Acl,
});

export const CatalogDump = z.strictObject({
  snapshot: z.strictObject({
    takenAt: z.string(),
    takenBy: z.string(),
    database: z.string(),
    serverVersion: z.string(),
    serverVersionNumber: z.int(),
    encoding: z.string(),
    inRecovery: z.boolean(),
  }),
  databases: z.array(Owned.extend({ acl: Acl })),
  roles: z.array(Named.extend({ memberOf: z.array(z.strictObject({ role: z.string(), admin: z.boolean() })) })),
  roleSettings: z.array(z.looseObject({ database: z.string().nullable(), role: z.string().nullable() })),
  settings: z.array(Named.extend({ value: z.string().nullable(), hidden: z.boolean(), source: z.string() })),
  tablespaces: z.array(Owned.extend({ acl: Acl })),
  schemas: z.array(Owned.extend({ acl: Acl })),
  extensions: z.array(Owned.extend({ version: z.string(), schema: z.string() })),
  types: z.array(InSchema.extend({ kind: z.string() })),
  tables: z.array(
    InSchema.extend({
      kind: z.enum(['table', 'partitioned', 'foreign']),
      columns: z.array(Column),
      constraints: z.array(Defined),
      indexes: z.array(Defined),
      triggers: z.array(Defined),
      policies: z.array(Named),
      rules: z.array(Defined),
    }),
  ),
  views: z.array(InSchema.extend({ kind: z.enum(['view', 'materialized']), definition: z.string(), columns: z.array(Column) })),
  sequences: z.array(InSchema.extend({ ownedBy: z.string().nullable() })),
  functions: z.array(
    InSchema.extend({
      kind: z.enum(['function', 'procedure', 'aggregate', 'window']),
      arguments: z.string(),
      definition: z.string().nullable().describe('null for an aggregate'),
    }),
  ),
  operators: z.array(InSchema),
  collations: z.array(InSchema),
  casts: z.array(z.looseObject({ source: z.string(), target: z.string() })),
  statistics: z.array(InSchema.extend({ definition: z.string() })),
  textSearchConfigurations: z.array(InSchema),
  languages: z.array(Owned),
  eventTriggers: z.array(Owned),
  publications: z.array(Owned),
  subscriptions: z.array(Owned),
  foreignServers: z.array(Owned),
  defaultPrivileges: z.array(z.looseObject({ role: z.string(), schema: z.string().nullable(), kind: z.string(), acl: Acl })),
});

const Occupation = z.strictObject({
  principalId: z.string(),
  role: z.string(),
  forMs: z.number(),
  state: z.string().optional(),
});
const UnderWay = z.strictObject({ count: z.int(), longest: z.array(Occupation) });

export const CoordinatorDump = z.strictObject({
  replica: z
    .strictObject({
      id: z.string(),
      upForMs: z.number(),
      memoryBytes: z.int(),
      pool: z.strictObject({ open: z.int(), idle: z.int(), waiting: z.int(), held: z.int() }),
      sessions: z.array(z.strictObject({ role: z.string(), idle: z.int(), lent: z.int(), returning: z.int(), held: z.int() })),
    })
    .catchall(UnderWay)
    .describe('What is under way in the replica that answers, each kind by its name'),
  server: z.strictObject({
    backends: z.array(z.looseObject({ processId: z.int(), role: z.string().nullable(), state: z.string().nullable() })),
    replicationSlots: z.array(Named),
    preparedTransactions: z.array(z.looseObject({ transaction: z.string(), owner: z.string() })),
  }),
});
