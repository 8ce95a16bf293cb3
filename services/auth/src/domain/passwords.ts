/** What a password may be. Length is asked for, composition is not. */

const LENGTH_MIN = 8;
const LENGTH_MAX = 1_024;
const CONTROL = /\p{Cc}/u;

/** What is tried first by whoever guesses; also refused as a first admin's. */
const GUESSED_FIRST = new Set([
  '00000000',
  '11111111',
  '12345678',
  '123456789',
  '1234567890',
  '1q2w3e4r',
  '1q2w3e4r5t',
  '1qaz2wsx',
  'abc12345',
  'abcd1234',
  'admin123',
  'admin1234',
  'adminadmin',
  'administrator',
  'changeit',
  'changeme',
  'changeme1',
  'changeme123',
  'change-me',
  'default1',
  'iloveyou',
  'letmein1',
  'password',
  'password1',
  'password12',
  'password123',
  'passw0rd',
  'p@ssw0rd',
  'postern1',
  'posternpostern',
  'postgres',
  'postgres1',
  'postgrespostgres',
  'qwerty12',
  'qwerty123',
  'qwertyui',
  'qwertyuiop',
  'rootroot',
  'secret12',
  'secret123',
  'sunshine',
  'superuser',
  'testtest',
  'trustno1',
  'welcome1',
]);

/** The form that is hashed and compared (RFC 8265, OpaqueString): one composed form, one kind of space, case kept. */
export const preparePassword = (password: string): string => password.normalize('NFC').replaceAll(/\p{Zs}/gu, ' ');

/** Why this cannot be the password of that name; nothing if it can. */
export function passwordMistake(name: string, password: string): string | undefined {
  const prepared = preparePassword(password);
  if ((prepared.match(/./gsu)?.length ?? 0) < LENGTH_MIN) return `must have at least ${LENGTH_MIN} characters`;
  if (password.length > LENGTH_MAX || prepared.length > LENGTH_MAX) return `must have at most ${LENGTH_MAX} characters`;
  if (CONTROL.test(prepared)) return 'must not have control characters';
  const lowered = prepared.toLowerCase();
  if (GUESSED_FIRST.has(lowered)) return 'is one of those that are guessed first';
  return lowered === name.toLowerCase() ? 'must not be the name' : undefined;
}
