/** The connection string that Neon's driver sends with each request: who asks, and of which database. A secret as a whole. */

export interface ConnectionString {
  readonly user: string;
  readonly password: string;
  /** Empty if none is named. */
  readonly database: string;
}

/** Undefined if it is not one. */
export function readConnectionString(text: string): ConnectionString | undefined {
  if (!/^postgres(?:ql)?:\/\//i.test(text) || !URL.canParse(text)) return undefined;
  const { username, password, pathname } = new URL(text);
  const parts = [username, password, pathname.slice(1)].map(decode);
  const [user, secret, database] = parts;
  if (user === undefined || secret === undefined || database === undefined || parts.some((part) => part?.includes('\0') === true))
    return undefined;
  return { user, password: secret, database };
}

function decode(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}
