/** What is told of the served database and of this replica: read as the caller, so nobody is shown more than PostgreSQL shows them. */
import type { SqlError } from './entries.ts';
import type { Answer, Caller } from './ports.ts';
import type { MetricPage } from './sql-metrics.ts';

export interface Inspector {
  readonly caller: Caller;
  /** Resolves when nobody waits for the answer any more. */
  readonly gone: Promise<void>;
}

export type Inspection<Value> =
  | { readonly kind: 'read'; readonly value: Value }
  /** The session was there, but the reading failed. */
  | { readonly kind: 'failed'; readonly error: SqlError }
  | { readonly kind: 'sessionRefused'; readonly error: SqlError; readonly isDenied: boolean }
  | { readonly kind: 'abandoned' };

/** One thing that does not fit the rest. */
export interface Inconsistency {
  readonly kind: string;
  readonly object: string;
  readonly message: string;
}

export interface CatalogBook {
  /** The whole catalog as JSON, of one snapshot. */
  dump(inspector: Inspector): Promise<Inspection<Answer>>;
  /** Empty if all fits. */
  check(inspector: Inspector): Promise<Inspection<readonly Inconsistency[]>>;
}

export interface CoordinatorBook {
  /** The live state of this replica, and the server's sessions as far as the caller may see them. */
  dump(inspector: Inspector): Promise<Inspection<Answer>>;
  check(inspector: Inspector): Promise<Inspection<readonly Inconsistency[]>>;
}

export interface MetricsBook {
  /** In the Prometheus text format. */
  page(page: MetricPage, inspector: Inspector): Promise<Inspection<string>>;
}

/** Something under way in this process, without what it says or reads. */
export interface Occupation {
  readonly principalId: string;
  readonly role: string;
  readonly forMs: number;
  readonly state?: string;
}

/** One kind of what is under way, as its owner counts it. */
export type Census = () => readonly Occupation[];
