/** What every driver is asked to do, so that one script is run with each, through the edge and over TCP. */

export interface Account {
  readonly id: number;
  readonly owner: string;
  readonly balance: number;
}

export interface Transfer {
  readonly from: number;
  readonly to: number;
  readonly amount: number;
}

/** Answers are what the driver itself gives; they are compared as they are. */
export interface Driver extends AsyncDisposable {
  create(accounts: readonly Account[]): Promise<unknown>;
  read(owner: string): Promise<unknown>;
  readAll(): Promise<readonly Account[]>;
  update(owner: string, balance: number): Promise<unknown>;
  remove(owner: string): Promise<unknown>;
  /** In one transaction, with the means that the driver has for one. */
  transfer(transfer: Transfer): Promise<unknown>;
  run(text: string, values?: readonly unknown[]): Promise<unknown>;
}

/** One driver, as its users wire it up: through the edge, and over TCP. Each takes a connection string. */
export interface Pair {
  readonly name: string;
  through(url: string): Driver;
  direct(url: string): Driver;
  /** What of a mistake is the same by both ways, if the driver itself makes a difference. */
  shown?(mistake: unknown): unknown;
  /** Whether the driver says that it does not know a type; its values are asked for as text then. */
  knowsNot?(mistake: unknown): boolean;
}

/** For SQL that is written by hand. */
export const STATEMENTS = {
  insert: 'insert into account (id, owner, balance) values ($1, $2, $3) returning *',
  select: 'select * from account where owner = $1',
  selectAll: 'select id, owner, balance from account order by id',
  update: 'update account set balance = $2 where owner = $1',
  remove: 'delete from account where owner = $1',
  take: 'update account set balance = balance - $2 where id = $1',
  give: 'update account set balance = balance + $2 where id = $1 returning balance',
} as const;
