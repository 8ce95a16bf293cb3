/** The beginning of PostgreSQL's wire protocol (54.2.1), up to the password: what a client says before it is known who it is. */

export interface Startup {
  /** The whole message as it came. */
  readonly bytes: Buffer;
  readonly user: string;
  readonly database: string;
}

export type StartupStep =
  | { readonly kind: 'more' }
  /** The client asks for encryption inside the socket; it is told no, and goes on. */
  | { readonly kind: 'encryption' }
  | { readonly kind: 'cancel'; readonly processId: number; readonly secretKey: number }
  | { readonly kind: 'startup'; readonly startup: Startup }
  | { readonly kind: 'password'; readonly password: string }
  | { readonly kind: 'refused'; readonly code: string; readonly message: string };

export interface StartupReader {
  push(bytes: Buffer): void;
  next(): StartupStep;
  /** What came behind the password. */
  rest(): Buffer;
}

const STARTUP_BYTES_MAX = 10_000;
const PASSWORD_BYTES_MAX = 16_384;
const SSL_REQUEST = 80_877_103;
const GSS_REQUEST = 80_877_104;
const CANCEL_REQUEST = 80_877_102;
const CANCEL_BYTES = 16;
const PASSWORD_MESSAGE = 0x70;

const MORE: StartupStep = { kind: 'more' };
const refused = (message: string, code = '08P01'): StartupStep => ({ kind: 'refused', code, message });
const utf8 = new TextDecoder('utf-8', { fatal: true });

export function createStartupReader(): StartupReader {
  let pending: Buffer = Buffer.alloc(0);
  let hasStarted = false;
  const asked = new Set<number>();

  const take = (bytes: number): Buffer => {
    const taken = pending.subarray(0, bytes);
    pending = pending.subarray(bytes);
    return taken;
  };

  const untyped = (): StartupStep => {
    if (pending.length < 4) return MORE;
    const length = pending.readUInt32BE(0);
    if (length < 8 || length > STARTUP_BYTES_MAX) return refused('invalid length of startup packet');
    if (pending.length < length) return MORE;
    const bytes = take(length);
    const code = bytes.readUInt32BE(4);
    if (code === CANCEL_REQUEST) {
      if (length !== CANCEL_BYTES) return refused('invalid length of cancel request');
      return { kind: 'cancel', processId: bytes.readInt32BE(8), secretKey: bytes.readInt32BE(12) };
    }
    if (code === SSL_REQUEST || code === GSS_REQUEST) {
      if (length !== 8 || asked.has(code)) return refused('invalid request for encryption');
      asked.add(code);
      return { kind: 'encryption' };
    }
    if (code >>> 16 !== 3) {
      return refused(`unsupported frontend protocol ${code >>> 16}.${code & 0xffff}: server supports 3.0 to 3.2`, '0A000');
    }
    return startupOf(bytes);
  };

  const startupOf = (bytes: Buffer): StartupStep => {
    const settings = readSettings(bytes.subarray(8));
    if (settings === undefined) return refused('invalid startup packet layout: expected terminator as last byte');
    const user = settings.get('user') ?? '';
    if (user === '') return refused('no PostgreSQL user name specified in startup packet', '28000');
    hasStarted = true;
    return { kind: 'startup', startup: { bytes: Buffer.from(bytes), user, database: settings.get('database') ?? user } };
  };

  const password = (): StartupStep => {
    if (pending.length < 5)
      return pending.length > 0 && pending[0] !== PASSWORD_MESSAGE ? refused('expected password response') : MORE;
    if (pending[0] !== PASSWORD_MESSAGE) return refused('expected password response');
    const length = pending.readUInt32BE(1);
    if (length < 5 || length > PASSWORD_BYTES_MAX) return refused('invalid password packet size');
    if (pending.length < length + 1) return MORE;
    const bytes = take(length + 1);
    const end = bytes.indexOf(0, 5);
    const text = end === bytes.length - 1 ? decode(bytes.subarray(5, end)) : undefined;
    return text === undefined ? refused('invalid password packet size') : { kind: 'password', password: text };
  };

  return {
    push(bytes) {
      pending = pending.length === 0 ? bytes : Buffer.concat([pending, bytes]);
    },
    next: () => (hasStarted ? password() : untyped()),
    rest: () => pending,
  };
}

/** Names and values, each ended by a zero, and one more zero; undefined if that is not what it is. */
function readSettings(bytes: Buffer): Map<string, string> | undefined {
  const settings = new Map<string, string>();
  let at = 0;
  const text = (): string | undefined => {
    const end = bytes.indexOf(0, at);
    if (end === -1) return undefined;
    const read = decode(bytes.subarray(at, end));
    at = end + 1;
    return read;
  };
  for (;;) {
    const name = text();
    if (name === '') return at === bytes.length ? settings : undefined;
    const value = name === undefined ? undefined : text();
    // Twice is two readings: a server takes the last, another reader the first.
    if (name === undefined || value === undefined || settings.has(name)) return undefined;
    settings.set(name, value);
  }
}

function decode(bytes: Uint8Array): string | undefined {
  try {
    return utf8.decode(bytes);
  } catch {
    return undefined;
  }
}

/** `N`: go on without encryption; the connection around has it. */
export const NO_ENCRYPTION = Buffer.from('N');

/** AuthenticationCleartextPassword. */
export const PASSWORD_REQUEST = Buffer.from([0x52, 0, 0, 0, 8, 0, 0, 0, 3]);

/** ErrorResponse of severity FATAL. */
export function fatalError(code: string, message: string): Buffer {
  const fields = [`SFATAL`, `VFATAL`, `C${code}`, `M${message.replaceAll('\0', '')}`].map((field) => `${field}\0`).join('');
  const body = Buffer.from(`${fields}\0`);
  const head = Buffer.alloc(5);
  head[0] = 0x45;
  head.writeUInt32BE(body.length + 4, 1);
  return Buffer.concat([head, body]);
}

export const passwordFailed = (user: string): string => `password authentication failed for user "${user}"`;
