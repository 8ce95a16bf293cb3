/** The mesh: which services there are, who calls whom, and how replicas make themselves known. */
import { z } from 'zod';

import { defineEvent } from './define.ts';

export const ServiceName = z.enum(['edge', 'auth', 'session', 'sql']);

/** Each replica says each second, and at every change, that it is there. Silence for {@link ANNOUNCE_EXPIRY_MS} means gone. */
export const replicaAnnounced = defineEvent({
  service: 'mesh',
  version: 1,
  name: 'announced',
  summary: 'A replica is there, with its inner door and whether it can work; told each second and at every change.',
  payload: z.object({
    service: ServiceName,
    /** One process; new at every start. */
    replicaId: z.string(),
    /** Origin of the inner HTTP door, if the service has one. */
    url: z.url().exactOptional(),
    state: z.enum(['ready', 'unready', 'draining']),
  }),
});

export const ANNOUNCE_INTERVAL_MS = 1_000;
export const ANNOUNCE_EXPIRY_MS = 6_000;

export type ServiceName = z.output<typeof ServiceName>;
export type ReplicaAnnounced = z.output<typeof replicaAnnounced.payload>;
