/** What the domain needs from the world. */
import type { GroupRole, PrincipalKind } from '@postern/contracts/common';

export interface Clock {
  /** Unix milliseconds. */
  now(): number;
}

/** How long the one who asked still waits; whatever takes time is given it, so that deadlines nest. */
export interface Deadline {
  remainingMs(): number;
}

/** Who brought a principal into being: an admin, a None listener or trusted header, an external issuer, or the mesh itself. */
export type Origin = 'created' | 'trusted' | 'external' | 'internal';

export interface Person {
  readonly id: string;
  readonly name: string;
  readonly kind: PrincipalKind;
  readonly origin: Origin;
  readonly roles: readonly GroupRole[];
  readonly passwordHash: string | null;
  /** The secret of the database login, sealed; null where logins are mapped, not made. */
  readonly sealedLogin: string | null;
  readonly disabled: boolean;
  /** Raised by a change of the password, by disabling and by enabling: what was proved before counts no more. */
  readonly epoch: number;
  readonly createdAt: number;
  readonly updatedAt: number;
}

export interface ApiKey {
  readonly id: string;
  readonly personId: string;
  readonly name: string;
  readonly secretHash: Uint8Array;
  readonly createdAt: number;
  readonly expiresAt: number | null;
  readonly lastUsedAt: number | null;
}

/** Who somebody is at an issuer elsewhere. */
export interface ExternalIdentity {
  readonly issuer: string;
  readonly subject: string;
}

export interface Page {
  readonly after: string | undefined;
  readonly limit: number;
}

/** The question whether a principal still is what an assertion is about to say. */
export interface Standing {
  readonly person: Pick<Person, 'disabled' | 'roles' | 'epoch'>;
  /** Whether the key is there; true if none was asked about. */
  readonly keyExists: boolean;
}

export interface DirectoryQueries {
  personByName(name: string): Promise<Person | undefined>;
  personById(id: string): Promise<Person | undefined>;
  personByIdentity(identity: ExternalIdentity): Promise<Person | undefined>;
  /** In the order of their names' bytes. */
  people(page: Page): Promise<readonly Person[]>;
  insertPerson(person: Person): Promise<void>;
  /** Writes all that may change of a person. */
  updatePerson(person: Person): Promise<void>;
  /** Only if the hash is still `from`: a password changed meanwhile stays. */
  replacePasswordHash(id: string, change: { readonly from: string; readonly to: string }): Promise<void>;
  deletePerson(id: string): Promise<void>;
  /** Enabled people with the role admin, the mesh's own principals not counted. */
  countAdmins(): Promise<number>;
  identityAt(personId: string, issuer: string): Promise<ExternalIdentity | undefined>;
  linkIdentity(personId: string, identity: ExternalIdentity): Promise<void>;
  keyById(id: string): Promise<{ readonly key: ApiKey; readonly person: Person } | undefined>;
  /** In the order of their ids. */
  keysOf(personId: string, page: Page): Promise<readonly ApiKey[]>;
  countKeys(personId: string): Promise<number>;
  insertKey(key: ApiKey): Promise<void>;
  /** Whether it was there. */
  deleteKey(id: string): Promise<boolean>;
  /** Notes a use, unless one was noted after `unlessAfter`. */
  noteKeyUse(id: string, use: { readonly at: number; readonly unlessAfter: number }): Promise<void>;
  standing(personId: string, keyId: string | undefined): Promise<Standing | undefined>;
}

/** Several statements as one. Locks are held to its end, and taken in the order of this list. */
export interface DirectoryTransaction extends DirectoryQueries {
  /** Shared by all who make or change database logins; exclusive for whoever compares them all. */
  lockLogins(mode: 'shared' | 'exclusive'): Promise<void>;
  /** Held by whoever may take away an admin, or make the first. */
  lockAdmins(): Promise<void>;
  lockName(name: string): Promise<void>;
}

export interface Directory {
  at(deadline: Deadline): DirectoryQueries;
  /** Commits if `work` resolves, rolls back if it rejects. */
  transact<T>(deadline: Deadline, work: (transaction: DirectoryTransaction) => Promise<T>): Promise<T>;
}

export interface LoginState {
  readonly personId: string;
  readonly groups: readonly GroupRole[];
  readonly enabled: boolean;
}

export interface LoginWish extends LoginState {
  readonly name: string;
  readonly secret: string;
}

/** The logins of people at the database cluster. */
export interface DatabaseLogins {
  /** Whether logins are made here, or only lent from a list that somebody else keeps. */
  readonly made: boolean;
  /** Makes a login, or makes one of ours be as wished; `taken` if the name is somebody else's or was kept from a removed person. */
  put(deadline: Deadline, wish: LoginWish): Promise<'done' | 'taken'>;
  /** Ends every connection of a login. */
  endConnections(deadline: Deadline, name: string): Promise<void>;
  /** Shuts a login and takes its groups away; dropped if it owns nothing, else kept, shut, so that nothing owned is lost. */
  remove(deadline: Deadline, name: string): Promise<'dropped' | 'kept' | 'absent'>;
  /** All logins of this mesh that are not kept from removed people, by name. */
  list(deadline: Deadline): Promise<ReadonlyMap<string, LoginState>>;
  /** The login that statements of this name run as, if a list names one. */
  mapped(name: string): { readonly dbRole: string; readonly password: string } | undefined;
}

export interface PasswordHasher {
  hash(password: string): Promise<string>;
  verify(hash: string, password: string): Promise<boolean>;
  /** Whether a hash was made with other parameters than today's. */
  isOutdated(hash: string): boolean;
}

export interface SigningKeyRow {
  readonly kid: string;
  /** 1 for the first; two replicas can never both make the same next one. */
  readonly ordinal: number;
  readonly x: string;
  readonly sealedPrivateKey: string;
  /** Unix milliseconds from which this key signs, until the next one does. */
  readonly signsFrom: number;
}

export interface SigningKeyTransaction {
  list(): Promise<readonly SigningKeyRow[]>;
  insert(row: SigningKeyRow): Promise<void>;
  reschedule(kid: string, signsFrom: number): Promise<void>;
  remove(kid: string): Promise<void>;
}

export interface SigningKeyStore {
  /** One replica at a time. */
  exclusively<T>(deadline: Deadline, work: (transaction: SigningKeyTransaction) => Promise<T>): Promise<T>;
}

export interface RootRow {
  readonly id: string;
  readonly sealed: string;
}

/** Where the one root key is kept, sealed. */
export interface RootStore {
  /** Keeps `made` if there is no root yet, and answers the one that is kept. */
  readOrInsert(deadline: Deadline, made: RootRow): Promise<RootRow>;
  replace(deadline: Deadline, row: RootRow): Promise<void>;
}

/** Tells every replica of every service, after the change is kept. */
export interface Revocations {
  announce(revoked: { readonly principalId: string; readonly tokenId?: string }): void;
}

/** What heals by itself and is worth a line in the log. */
export interface Reporter {
  warn(what: { readonly err?: unknown; readonly name?: string }, message: string): void;
}
