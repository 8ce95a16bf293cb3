/** The first message of PostgreSQL's wire protocol, and what it is answered with. Pure; what it lets through is the server's to judge. */

export interface WireError {
  readonly message: string;
  readonly code: string;
  readonly detail?: string | undefined;
  readonly hint?: string | undefined;
}

export type Startup =
  /** More bytes are needed. */
  | { readonly kind: 'incomplete' }
  | { readonly kind: 'refused'; readonly error: WireError }
  | {
      readonly kind: 'accepted';
      readonly bytes: number;
      /** Settings that the session begins with, in the client's order; `options` among them as it is. */
      readonly settings: ReadonlyMap<string, string>;
      /** Names of options of the protocol that are not known here; undefined if there is nothing to negotiate. */
      readonly unknownOptions: readonly string[] | undefined;
    };

export interface StartupRules {
  /** The name that was proved. */
  readonly user: string;
  readonly database: string;
}

/** PostgreSQL's own bound on the message. */
const STARTUP_BYTES_MAX = 10_000;
const HEAD_BYTES = 8;
const MAJOR = 3;
const MINOR_MAX = 2;
const FALSE_WORDS = new Set(['false', 'fals', 'fal', 'fa', 'f', 'no', 'n', 'off', 'of', '0']);

export function readStartup(bytes: Buffer, { user, database }: StartupRules): Startup {
  if (bytes.length < HEAD_BYTES) return { kind: 'incomplete' };
  const length = bytes.readUInt32BE(0);
  if (length < HEAD_BYTES || length > STARTUP_BYTES_MAX) return refuse('08P01', 'invalid length of startup packet');
  const [major, minor] = [bytes.readUInt16BE(4), bytes.readUInt16BE(6)];
  if (major !== MAJOR) return refuse('0A000', `unsupported frontend protocol ${major}.${minor}: server supports 3.0 to 3.2`);
  if (bytes.length < length) return { kind: 'incomplete' };
  const parameters = readParameters(bytes.subarray(HEAD_BYTES, length));
  if (parameters === undefined) {
    return refuse('08P01', 'invalid startup packet layout: expected terminator as last byte');
  }
  const settings = new Map<string, string>();
  const unknownOptions: string[] = [];
  const asked: { user?: string; database?: string } = {};
  for (const [name, value] of parameters) {
    if (name === 'user' || name === 'database') asked[name] = value;
    else if (name === 'replication') {
      if (!FALSE_WORDS.has(value.toLowerCase())) return refuse('0A000', 'replication is not possible on this connection');
    } else if (name.startsWith('_pq_.')) unknownOptions.push(name);
    else settings.set(name, value);
  }
  if (asked.user !== user)
    return refuse('28000', `user ${JSON.stringify(asked.user ?? '')} is not the one that was authenticated`);
  // Without a name PostgreSQL takes the user's; here there is only one.
  if (asked.database !== undefined && asked.database !== '' && asked.database !== database) {
    return refuse('3D000', `database ${JSON.stringify(asked.database)} does not exist`);
  }
  const isNegotiated = minor > MINOR_MAX || unknownOptions.length > 0;
  return { kind: 'accepted', bytes: length, settings, unknownOptions: isNegotiated ? unknownOptions : undefined };
}

const refuse = (code: string, message: string): Startup => ({ kind: 'refused', error: { code, message } });

function readParameters(bytes: Buffer): [string, string][] | undefined {
  const parts = bytes.toString('utf8').split('\0');
  // Pairs, then an empty name, which is the end; behind its NUL there is nothing.
  if (parts.pop() !== '' || parts.pop() !== '' || parts.length % 2 !== 0) return undefined;
  const parameters: [string, string][] = [];
  for (let index = 0; index < parts.length; index += 2) {
    const name = parts[index] ?? '';
    if (name === '') return undefined;
    parameters.push([name, parts[index + 1] ?? '']);
  }
  return parameters;
}

export interface Greeting {
  readonly processId: number;
  readonly secretKey: number;
  readonly parameters: ReadonlyMap<string, string>;
  readonly unknownOptions: readonly string[] | undefined;
}

const cString = (text: string): Buffer => Buffer.from(`${text}\0`);
const int32 = (value: number): Buffer => {
  const bytes = Buffer.allocUnsafe(4);
  bytes.writeUInt32BE(value >>> 0);
  return bytes;
};
const message = (type: string, ...body: readonly Buffer[]): Buffer =>
  Buffer.concat([Buffer.from(type), int32(body.reduce((sum, part) => sum + part.length, 4)), ...body]);

/** All that a server says before it is ready for a query. */
export function greeting({ processId, secretKey, parameters, unknownOptions }: Greeting): Buffer {
  return Buffer.concat([
    ...(unknownOptions === undefined
      ? []
      : [message('v', int32(MAJOR * 65_536 + MINOR_MAX), int32(unknownOptions.length), ...unknownOptions.map(cString))]),
    message('R', int32(0)),
    ...[...parameters].map(([name, value]) => message('S', cString(name), cString(value))),
    message('K', int32(processId), int32(secretKey)),
    message('Z', Buffer.from('I')),
  ]);
}

/** An error that ends the connection. */
export function fatal({ message: text, code, detail, hint }: WireError): Buffer {
  const fields: [string, string | undefined][] = [
    ['S', 'FATAL'],
    ['V', 'FATAL'],
    ['C', code],
    ['M', text],
    ['D', detail],
    ['H', hint],
  ];
  const told = fields.flatMap(([letter, value]) => (value === undefined ? [] : [Buffer.from(letter), cString(value)]));
  return message('E', ...told, Buffer.of(0));
}
