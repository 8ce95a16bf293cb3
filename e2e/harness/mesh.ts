/** What a scenario knows of the mesh: public doors, an admin, and a hand on its parts. */
export type ServerName = 'postgres' | 'redis' | 'nats';
export type ServiceName = 'edge' | 'auth' | 'session' | 'sql';

export interface Replica {
  readonly name: string;
  /** One process: differs after a start anew. */
  readonly process: string;
  /** Whether it can work. */
  readonly ready: boolean;
}

export interface Mesh {
  readonly edges: readonly [string, ...string[]];
  readonly admin: { readonly user: string; readonly password: string };
  readonly apiKey: string;
  /** A superuser's own connection to the database that people work in, past every door: what is so, to compare with. */
  readonly databaseUrl: string;
  /** Takes a part away until disposed; how (stopped, or frozen) depends on where the mesh runs. */
  takeAway(part: ServerName | ServiceName): Promise<AsyncDisposable>;
  replicas(service: ServiceName): Promise<readonly Replica[]>;
  /** SIGTERM, as an operator or an orchestrator would. The replica comes back by itself. */
  terminate(replica: Replica): Promise<void>;
  /** SIGKILL, as a kernel without memory would. It comes back by itself as well. */
  kill(replica: Replica): Promise<void>;
  /** Memory of all replicas of a service, as the kernel counts it. */
  residentBytes(service: ServiceName): Promise<number>;
  /** Everything that services and servers have logged. */
  logs(): Promise<string>;
  /** Every secret that was generated for it. */
  secrets(): Promise<readonly string[]>;
}
