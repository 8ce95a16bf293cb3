/** What the mesh promises, as seen from outside. Each has a scenario; coverage.test.ts says which has not. */
export interface Requirement {
  readonly id: string;
  readonly behaviour: string;
  /** Where it is written down. */
  readonly source: string;
}

export const requirements = [
  {
    id: 'sql:own-role',
    behaviour: 'Statements run as the own role of whoever asks, however they prove who they are',
    source: 'ARCHITECTURE.md, Identity',
  },
  { id: 'sql:no-escape', behaviour: 'No statement gains another role', source: 'imm-073' },
  {
    id: 'sql:no-leak',
    behaviour: 'Nothing of one request is there in the next, of the same person or another',
    source: 'imm-074',
  },
  { id: 'sql:groups', behaviour: 'A person may what their groups may, and nothing else', source: 'ADR 0012' },
  {
    id: 'identity:missing',
    behaviour: 'Without a credential, or with a wrong one, no protected route answers',
    source: 'ARCHITECTURE.md, Identity',
  },
  {
    id: 'identity:forged',
    behaviour: 'A principal that the caller claims in a header is not believed',
    source: 'imm-001, imm-007',
  },
  { id: 'input:bad', behaviour: 'Input that cannot be understood gets its own answer, and nothing runs', source: 'ADR 0008' },
  {
    id: 'faults:away',
    behaviour: 'While a server is away protected routes answer 503, liveness 200, readiness 503',
    source: 'ARCHITECTURE.md, When something is away; imm-055',
  },
  {
    id: 'faults:back',
    behaviour: 'When the server is back everything works again and nothing was started anew',
    source: 'ARCHITECTURE.md, When something is away',
  },
  { id: 'drain:no-loss', behaviour: 'A replica that is told to stop under load loses no request', source: 'ADR 0010' },
  {
    id: 'replicas:sessions',
    behaviour: 'A session is good at every edge, and ends at every edge within a second',
    source: 'ADR 0010',
  },
  {
    id: 'replicas:keys',
    behaviour: 'A revoked key, a changed password and a disabled person are dead at every edge within a second',
    source: 'imm-051',
  },
  { id: 'replicas:limits', behaviour: 'Failed logins are counted over all replicas', source: 'ADR 0014' },
  { id: 'secrets:silent', behaviour: 'No log holds a secret', source: 'CONTRIBUTING.md' },
  {
    id: 'start:ephemeral',
    behaviour: 'An ephemeral start tells where it is in one line of JSON and leaves nothing behind',
    source: 'README.md',
  },
  {
    id: 'start:mistakes',
    behaviour: 'Options and configurations that cannot be used are refused with every mistake',
    source: 'README.md',
  },
  { id: 'start:alone', behaviour: 'One start at a time works on a data folder, and a taken port is told', source: 'README.md' },
  {
    id: 'start:killed',
    behaviour: 'A supervisor that is killed leaves no process behind, and the next start works',
    source: 'README.md',
  },
  {
    id: 'start:given',
    behaviour: 'Servers that are named are used, and an ephemeral start leaves nothing in them',
    source: 'README.md',
  },
  {
    id: 'socket:login',
    behaviour: 'A WebSocket says who it is in its first message or by a live cookie, and is refused with 1002 otherwise',
    source: 'reference A 5.1',
  },
  { id: 'socket:origin', behaviour: 'A cookie from a foreign page opens no WebSocket', source: 'imm-078, imm-110' },
  {
    id: 'socket:requests',
    behaviour: 'Requests of a WebSocket run in order in one session, and each ends with one ReadyForQuery',
    source: 'reference A 5.4',
  },
  {
    id: 'socket:revoked',
    behaviour: 'Open sockets end with 4401 within two seconds when what opened them is revoked, at every edge',
    source: 'ARCHITECTURE.md, Identity',
  },
  {
    id: 'socket:faults',
    behaviour: 'A replica that goes away ends its sockets with a clean code, and nothing that was told to be committed is lost',
    source: 'ARCHITECTURE.md, When something is away',
  },
  {
    id: 'endings:nothing-runs',
    behaviour: 'A cancel, a disconnect and a timeout leave no running statement behind, whatever surface it came by',
    source: 'services/sql/README.md',
  },
  {
    id: 'feed:changes',
    behaviour: 'Changes come once and in commit order, also across a resume, and none of a row that the reader may not see',
    source: 'services/sql/README.md',
  },
  { id: 'feed:channels', behaviour: 'Channels are feeds', source: 'services/sql/README.md' },
  {
    id: 'statements:anywhere',
    behaviour: 'A statement that runs without anybody waiting is found at every edge, by its person alone',
    source: 'services/sql/README.md',
  },
  {
    id: 'stream:ndjson',
    behaviour: 'Rows come as lines while the statement runs, and the last line says whether that was all',
    source: 'services/sql/README.md',
  },
  { id: 'stream:csv', behaviour: 'Rows come as a table of text', source: 'services/sql/README.md' },
  {
    id: 'stream:memory',
    behaviour: 'What a reader does not take yet stays in the database: memory does not grow with a result',
    source: 'ARCHITECTURE.md, Promises',
  },
  {
    id: 'operations:catalog',
    behaviour: 'The catalog and what is under way are told through every edge, as their reader may see them',
    source: 'services/sql/README.md',
  },
  {
    id: 'operations:metrics',
    behaviour: 'Metrics that are defined by SQL are told to nobody whom the listener does not admit to metrics',
    source: 'services/sql/README.md',
  },
  {
    id: 'operations:documents',
    behaviour: 'The OpenAPI document names every route that the doors have',
    source: 'services/sql/README.md',
  },
  {
    id: 'drivers:script',
    behaviour: 'Unmodified edge drivers create, read, change and fail through the edge as `pg` does over TCP',
    source: 'README.md',
  },
  {
    id: 'drivers:types',
    behaviour: 'Each driver reads values of every built-in type as over TCP',
    source: 'README.md',
  },
  {
    id: 'drivers:transactions',
    behaviour: 'Transactions of drivers have the isolation they ask for, and many at once lose nothing',
    source: 'README.md',
  },
  {
    id: 'drivers:session',
    behaviour: 'A connection of a driver over WebSocket is a session: cursors, prepared statements, LISTEN, notices',
    source: 'README.md',
  },
  {
    id: 'drivers:identity',
    behaviour: 'In the place of the password goes a password or an API key; a wrong one is told as PostgreSQL tells it',
    source: 'ARCHITECTURE.md, Identity',
  },
  { id: 'start:restarts', behaviour: 'A service or server that dies is started again', source: 'README.md' },
] as const satisfies readonly Requirement[];

export type RequirementId = (typeof requirements)[number]['id'];
